# Starts from ImageNet weights that come with the extra pretrained: nothing is downloaded.
_base_ = "./mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512.py"

# Model
model = dict(
    # As the ImageNet weights were trained.
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(_delete_=True, type="EfficientNetLite0", imagenet_weights=True),
    neck=dict(in_channels=[24, 40, 112, 320]),
)
load_from = None
# SGD is for the weights of COCO.
optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=2e-4, weight_decay=0.05))
