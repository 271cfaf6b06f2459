# For a CPU: starts from ImageNet weights that come with the extra pretrained. Otherwise as with ResNet-18.
_base_ = "./mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py"

# Model
model = dict(
    # As the ImageNet weights were trained.
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(_delete_=True, type="EfficientNetLite0", imagenet_weights=True),
    neck=dict(in_channels=[24, 40, 112, 320]),
)

# Schedule
optim_wrapper = dict(
    constructor="GroupedOptimWrapperConstructor",
    # The backbone knows pictures already.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
)
