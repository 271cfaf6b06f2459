# Starts from what MAE has learned from images without masks.
_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"
from lesionseg.engine.recipes import layer_decay

# Model: blocks 3, 6, 9 and 12 give the scales
embed_dim = 384
vit = dict(type="TIMMVisionTransformer", model_name="vit_small_patch16_224", img_size=512, drop_path_rate=0.1)
mae = dict(type="Pretrained", checkpoint="work_dirs/mae_vit-s_1xb256-amp-100k_unlabelled-224x224/ssl_backbone.pth")
model = dict(
    backbone=dict(_delete_=True, **vit, init_cfg=mae),
    neck=dict(type="Feature2Pyramid", embed_dim=embed_dim, norm_cfg=dict(type="BN")),
    decode_head=dict(in_channels=[embed_dim] * 4),
)
load_from = None

# Schedule
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=layer_decay(depth=12, rate=0.75)))
