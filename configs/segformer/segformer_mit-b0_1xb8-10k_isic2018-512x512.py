# MiT-B0's weights, fetched at the start of a training, are NVIDIA's, for non-commercial use.
_base_ = ["mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", "../_base_/isic2018.py"]
from lesionseg.engine.recipes import schedule

globals().update(_base_.isic)
globals().update(schedule(max_iters=20000, warmup_iters=1500, val_interval=1000))
train_dataloader = dict(_base_.isic.train_dataloader, batch_size=8)
data_preprocessor = dict(size=_base_.isic.crop_size, test_cfg=dict(size_divisor=32))
model = dict(data_preprocessor=data_preprocessor, decode_head=dict(num_classes=_base_.isic.num_classes))
auto_scale_lr = dict(base_batch_size=8)
