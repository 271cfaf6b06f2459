# Starts from what MAE has learned from images without masks.
_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"
from lesionseg.engine.recipes import layer_decay, mae_backbone

# Model: blocks 3, 6, 9 and 12 give the scales
embed_dim = 384
model = dict(
    backbone=mae_backbone(
        "vit_small_patch16_224", img_size=512, pretraining="mae_vit-s_1xb256-amp-100k_unlabelled-224x224"
    ),
    neck=dict(type="Feature2Pyramid", embed_dim=embed_dim, norm_cfg=dict(type="BN")),
    decode_head=dict(in_channels=[embed_dim] * 4),
)
load_from = None

# Schedule
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=layer_decay(depth=12, rate=0.75)))
