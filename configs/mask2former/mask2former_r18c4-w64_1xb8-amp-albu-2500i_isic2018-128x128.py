# For a CPU: 10 minutes on two cores, from scratch. Convert with --short-edge 128: then nothing has to be resized.
_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"
from lesionseg.engine.recipes import schedule, small_images

# Data
globals().update(small_images(_base_, 128))

# Model
width = 64
num_heads = 4
num_levels = 2  # of the features that are attended to: strides 8 and 16
attention = dict(embed_dims=width, num_heads=num_heads)
data_preprocessor = dict(size=(128, 128))
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
    # A second moment of 0.999 is slower than this schedule.
    optimizer=dict(lr=1e-3, betas=(0.9, 0.98)),
    # Nothing was trained before: the backbone learns as fast as the rest.
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
)
auto_scale_lr = dict(base_batch_size=8)
