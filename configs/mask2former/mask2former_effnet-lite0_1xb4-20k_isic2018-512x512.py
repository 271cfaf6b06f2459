# Starts from ImageNet weights that come with the extra pretrained: nothing is downloaded.
_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"

# Model
data_preprocessor = dict(
    # As the ImageNet weights were trained.
    mean=[127.5] * 3,
    std=[127.5] * 3,
    # Where all edges are multiples of the strides, an export pads as the training does.
    test_cfg=dict(size_divisor=32),
)
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(_delete_=True, type="EfficientNetLite0", imagenet_weights=True),
    decode_head=dict(in_channels=[24, 40, 112, 320]),
)
load_from = None
