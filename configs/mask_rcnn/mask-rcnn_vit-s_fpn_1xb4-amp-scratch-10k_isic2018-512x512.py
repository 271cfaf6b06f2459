# Blocks 3, 6, 9 and 12 of a plain ViT give the scales, as in ViTDet (Li et al. 2022, arXiv 2203.16527). Needs timm.
_base_ = "./mask-rcnn_r50_fpn_1xb8-amp-scratch-10k_isic2018-512x512.py"

vit = dict(type="mmseg.TIMMBackbone", model_name="vit_small_patch16_224", pretrained=False, out_indices=(2, 5, 8, 11))
width = 384
train_dataloader = dict(batch_size=4)
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(_delete_=True, **vit, dynamic_img_size=True),
    neck=[
        dict(type="mmseg.Feature2Pyramid", embed_dim=width, norm_cfg=dict(type="BN")),
        dict(type="FPN", in_channels=[width] * 4, out_channels=256, num_outs=5),
    ],
)
auto_scale_lr = dict(base_batch_size=4)
