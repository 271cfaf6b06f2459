# For a CPU: starts from what MAE has learned from images without masks. Otherwise as with ResNet-18.
_base_ = "./mask-rcnn_r18-w64_fpn_1xb8-1300i_isic2018-160x160.py"
from lesionseg.engine.recipes import layer_decay, mae_backbone

# Model
embed_dim = 192
model = dict(
    backbone=mae_backbone("vit_tiny_patch16_224", img_size=160, pretraining="mae_vit-t_1xb64-3k_unlabelled-128x128"),
    neck=[
        dict(type="mmseg.Feature2Pyramid", embed_dim=embed_dim, norm_cfg=dict(type="BN")),
        dict(type="FPN", in_channels=[embed_dim] * 4, out_channels=_base_.width, num_outs=5),
    ],
)

# Schedule
optim_wrapper = dict(
    constructor="GroupedOptimWrapperConstructor",
    # As short a training as Mask2Former's, where a rate of 0.75 loses what was gained: see configs/mae/README.md.
    paramwise_cfg=dict(custom_keys=layer_decay(depth=12, rate=1.0), norm_decay_mult=0.0),
)
