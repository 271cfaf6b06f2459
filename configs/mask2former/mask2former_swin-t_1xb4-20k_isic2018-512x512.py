_base_ = "./mask2former_r50_1xb4-20k_isic2018-512x512.py"

# As MMSegmentation's mask2former_swin-t_8xb2-160k_ade20k-512x512.
depths = [2, 2, 6, 2]
model = dict(
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        embed_dims=96,
        depths=depths,
        num_heads=[3, 6, 12, 24],
        window_size=7,
        mlp_ratio=4,
        qkv_bias=True,
        drop_path_rate=0.3,
        patch_norm=True,
        out_indices=(0, 1, 2, 3),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)
load_from = "https://mmassets.onedl.ai/mmsegmentation/v0.5/mask2former/mask2former_swin-t_8xb2-160k_ade20k-512x512/mask2former_swin-t_8xb2-160k_ade20k-512x512_20221203_234230-7d64e5dd.pth"

# The key `backbone` would decay normalisation layers and position biases, too.
backbone_lr_mult = 0.1
undecayed = [
    "backbone.patch_embed.norm",
    "backbone.norm",
    "relative_position_bias_table",
    *[f"backbone.stages.{stage}.blocks.{block}.norm" for stage in range(4) for block in range(depths[stage])],
    *[f"backbone.stages.{stage}.downsample.norm" for stage in range(3)],
]
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={key: dict(lr_mult=backbone_lr_mult, decay_mult=0.0) for key in undecayed})
)
