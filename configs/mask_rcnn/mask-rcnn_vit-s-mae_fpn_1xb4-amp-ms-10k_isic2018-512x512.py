# Starts from what MAE has learned from images without masks. Blocks 3, 6, 9 and 12 of a plain ViT give the scales, as
# in ViTDet (Li et al. 2022, arXiv 2203.16527).
_base_ = "./mask-rcnn_r50_fpn_1xb8-amp-10k_isic2018-512x512.py"
from lesionseg.engine.recipes import layer_decay, mae_backbone

# Data
train_scales = [(2048, short_edge) for short_edge in (512, 640, 704, 768)]  # (long edge at most, short edge)
_seed, _load, _annotations, _resize, *_rest = _base_.train_pipeline
train_pipeline = [_seed, _load, _annotations, dict(_resize, scales=train_scales), *_rest]
del _seed, _load, _annotations, _resize, _rest
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))

# Model
embed_dim = 384
model = dict(
    backbone=mae_backbone(
        "vit_small_patch16_224", img_size=512, pretraining="mae_vit-s_1xb256-amp-100k_unlabelled-224x224"
    ),
    neck=[
        dict(type="mmseg.Feature2Pyramid", embed_dim=embed_dim, norm_cfg=dict(type="BN")),
        dict(type="FPN", in_channels=[embed_dim] * 4, out_channels=256, num_outs=5),
    ],
)
load_from = None

# Schedule: 10,000 x 4 images / 2594 = 15 epochs
optim_wrapper = dict(
    constructor="GroupedOptimWrapperConstructor",
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(custom_keys=layer_decay(depth=12, rate=0.75), norm_decay_mult=0.0),
)
auto_scale_lr = dict(base_batch_size=4)
