# For a CPU: 10 minutes on two cores, from scratch. Convert with --short-edge 128: then nothing has to be resized.
_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"
from lesionseg.engine.recipes import schedule

# Data
crop_size = (128, 128)
scale = (512, 128)  # (long edge at most, short edge)
_seed, _load, _load_mask, _scale_crop, _flip, _photometric, _pack = _base_.train_pipeline
# A few epochs from scratch: whole lesions and mild colours, but in every direction and at many sizes.
affine = dict(
    type="LesionAlbu",
    transforms=[
        # 4: the border reflects the picture (cv2.BORDER_REFLECT_101).
        dict(type="Affine", scale=(0.75, 1.25), rotate=(-180, 180), border_mode=4, p=0.75),
    ],
)
train_pipeline = [
    _seed,
    dict(_load, min_short_edge=128),
    _load_mask,
    dict(_scale_crop, scales=[128], max_size=scale[0], crop_size=crop_size),
    _flip,
    affine,
    dict(_photometric, brightness_delta=16, contrast_range=(0.8, 1.2), saturation_range=(0.8, 1.2), hue_delta=6),
    _pack,
]
_load, _resize, *_pack = _base_.test_pipeline
test_resize = dict(_resize, scale=scale)
test_pipeline = [_load, test_resize, *_pack]
_load, _flip = _base_.tta_pipeline
tta_pipeline = [_load, dict(_flip, transforms=[[test_resize], *_flip.transforms[1:]])]
del _seed, _load, _load_mask, _scale_crop, _resize, _flip, _photometric, _pack
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(num_workers=1, dataset=dict(pipeline=test_pipeline))

# Model
width = 64
num_heads = 4
num_levels = 2  # of the features that are attended to: strides 8 and 16
attention = dict(embed_dims=width, num_heads=num_heads)
data_preprocessor = dict(size=crop_size)
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(
        depth=18,
        # Up to conv4: conv5 has three quarters of the weights, for a map of 4x4 pixels.
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(0, 1, 2),
        norm_cfg=dict(type="SyncBN", requires_grad=True),
    ),
    decode_head=dict(
        in_channels=[64, 128, 256],
        strides=[4, 8, 16],
        num_transformer_feat_level=num_levels,
        feat_channels=width,
        out_channels=width,
        num_queries=10,
        pixel_decoder=dict(
            num_outs=num_levels,
            norm_cfg=dict(num_groups=8),
            encoder=dict(
                num_layers=2,
                layer_cfg=dict(
                    self_attn_cfg=dict(attention, num_levels=num_levels),
                    ffn_cfg=dict(embed_dims=width, feedforward_channels=4 * width),
                ),
            ),
            positional_encoding=dict(num_feats=width // 2),
        ),
        positional_encoding=dict(num_feats=width // 2),
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(
                self_attn_cfg=attention,
                cross_attn_cfg=attention,
                ffn_cfg=dict(embed_dims=width, feedforward_channels=4 * width),
            ),
        ),
        train_cfg=dict(num_points=1024),  # as many as a mask has pixels, 32 x 32
    ),
)
load_from = None

# Schedule: 2,500 x 8 images / 2594 = 8 epochs
globals().update(schedule(max_iters=2500, warmup_iters=100, val_interval=1250))
optim_wrapper = dict(
    # Without a GPU the CPU's own mixed precision stands in, where it has instructions for it.
    type="AmpOptimWrapper",
    dtype="bfloat16",
    # On the CPU, unfused AdamW takes a seventh of every step. A second moment of 0.999 is slower than this schedule.
    optimizer=dict(lr=1e-3, betas=(0.9, 0.98), fused=True),
    # Nothing was trained before: the backbone learns as fast as the rest.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
)
auto_scale_lr = dict(base_batch_size=8)
