# For a CPU: starts from what MAE has learned from images without masks. Otherwise as with ResNet-18.
_base_ = "./mask2former_r18c4-w64_1xb8-amp-albu-2500i_isic2018-128x128.py"
from lesionseg.engine.recipes import layer_decay, mae_backbone

# Model
embed_dim = 192
num_levels = 3  # of the features that are attended to: strides 8, 16 and 32
model = dict(
    backbone=mae_backbone("vit_tiny_patch16_224", img_size=128, pretraining="mae_vit-t_1xb64-3k_unlabelled-128x128"),
    neck=dict(type="Feature2Pyramid", embed_dim=embed_dim, norm_cfg=dict(type="BN")),
    decode_head=dict(
        in_channels=[embed_dim] * 4,
        strides=[4, 8, 16, 32],
        num_transformer_feat_level=num_levels,
        pixel_decoder=dict(
            num_outs=num_levels,
            encoder=dict(layer_cfg=dict(self_attn_cfg=dict(num_levels=num_levels))),
        ),
    ),
)

# Schedule
# A rate of 0.75, as in longer trainings, loses what the pre-training gains: see configs/mae/README.md.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=layer_decay(depth=12, rate=1.0)))
