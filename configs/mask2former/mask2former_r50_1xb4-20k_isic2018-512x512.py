_base_ = ["mmseg::mask2former/mask2former_r50_8xb2-160k_ade20k-512x512.py", "../_base_/isic2018.py"]
from lesionseg.engine.recipes import schedule

# Data and output
globals().update(_base_.isic)
train_dataloader = dict(_base_.isic.train_dataloader, batch_size=4)
num_classes = _base_.isic.num_classes

# Model
data_preprocessor = dict(type="BatchSegDataPreProcessor", size=_base_.isic.crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    # load_from brings the backbone's weights, too.
    backbone=dict(init_cfg=None),
    decode_head=dict(
        type="LesionMask2FormerHead",
        num_classes=num_classes,
        pixel_decoder=dict(type="LesionPixelDecoder"),
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
    ),
)
load_from = "https://mmassets.onedl.ai/mmsegmentation/v0.5/mask2former/mask2former_r50_8xb2-160k_ade20k-512x512/mask2former_r50_8xb2-160k_ade20k-512x512_20221204_000055-2d1f55f1.pth"
# ADE20K has other classes.
new_parts = ["decode_head.cls_embed"]

# Schedule: 20,000 x 4 images / 2594 = 31 epochs
globals().update(schedule(max_iters=20000, warmup_iters=500, val_interval=1000))
optim_wrapper = dict(constructor="GroupedOptimWrapperConstructor")
auto_scale_lr = dict(base_batch_size=4)
