# MiT-B5's weights, fetched at the start of a training, are NVIDIA's, for non-commercial use.
_base_ = "./segformer_mit-b0_1xb8-10k_isic2018-512x512.py"

# Model
checkpoint = "https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segformer/mit_b5_20220624-658746d9.pth"
model = dict(
    backbone=dict(init_cfg=dict(checkpoint=checkpoint), embed_dims=64, num_layers=[3, 6, 40, 3]),
    decode_head=dict(in_channels=[64, 128, 320, 512]),
)
