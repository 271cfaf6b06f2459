# MiT-B0's weights, fetched at the start of a training, are NVIDIA's, for non-commercial use.
_base_ = ["mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", "../_base_/isic2018.py"]
from lesionseg.engine.recipes import focal_dice, schedule

# Data and output
globals().update(_base_.isic)
train_dataloader = dict(_base_.isic.train_dataloader, batch_size=8)
num_classes = 1  # the lesion: findings have no background

# Model
data_preprocessor = dict(type="BatchSegDataPreProcessor", size=_base_.isic.crop_size, test_cfg=dict(size_divisor=32))
head = dict(type="MultiLabelSegformerHead", num_classes=num_classes, loss_decode=focal_dice())
model = dict(type="MultiLabelEncoderDecoder", data_preprocessor=data_preprocessor, decode_head=head)

# Schedule: 10,000 x 8 images / 2594 = 31 epochs
globals().update(schedule(max_iters=10000, warmup_iters=500, val_interval=1000))
optim_wrapper = dict(constructor="GroupedOptimWrapperConstructor")
auto_scale_lr = dict(base_batch_size=8)
