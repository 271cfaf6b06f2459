"""Small networks with random weights, whose outputs are not the same everywhere."""

from pathlib import Path

import torch
from helpers import draw_pair

from lesionseg.engine.config import Options, load_config
from lesionseg.inference.runtimes.torch_model import build_module, semantic_scores

# MMSegmentation's own SegFormer on this project's data.
SEGFORMER = """
_base_ = ["mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", "{root}/configs/_base_/isic2018.py"]
model = dict(
    data_preprocessor=dict(test_cfg=dict(size_divisor=32)),
    backbone=dict(init_cfg=None, embed_dims=8, num_layers=[1, 1, 1, 1]),
    decode_head=dict(in_channels=[8, 16, 40, 64], channels=16, num_classes=2),
)
globals().update(_base_.isic)
"""

# A ViT of four blocks below its head.
VIT = """
_base_ = ["mmseg::segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512.py", "{root}/configs/_base_/isic2018.py"]
vit = dict(type="TIMMVisionTransformer", model_name="vit_tiny_patch16_224", img_size=64, embed_dim=24, depth=4)
model = dict(
    data_preprocessor=dict(test_cfg=dict(size_divisor=32)),
    backbone=dict(_delete_=True, **vit, num_heads=2, out_indices=(0, 1, 2, 3)),
    neck=dict(type="Feature2Pyramid", embed_dim=24, norm_cfg=dict(type="BN")),
    decode_head=dict(in_channels=[24] * 4, channels=16, num_classes=2),
)
globals().update(_base_.isic)
"""


def save_random_weights(config: str, path: Path, options: tuple[str, ...] = ()) -> Path:
    """Write a checkpoint of random weights with which both classes occur, and rounding does not decide between them."""
    torch.manual_seed(0)
    module = build_module(load_config(Options(config, cfg_options=options)), config)
    image = torch.from_numpy(draw_pair(0, 96, 128)[0]).permute(2, 0, 1)[None] / 60 - 2
    inputs = torch.cat([torch.randn(1, 3, 96, 128), image])
    head = module.decode_head
    if hasattr(head, "query_feat"):
        # As they begin, all queries have nearly the same mask and class.
        spread = [(head.query_feat, 2), (head.cls_embed, 1), (head.pixel_decoder.mask_feature, 1)]
    else:
        spread = [(head.conv_seg, 3)]
    for seed in range(200):
        torch.manual_seed(seed)
        for layer, std in spread:
            torch.nn.init.normal_(layer.weight, std=std)
        with torch.no_grad():
            [scores], [nearly] = semantic_scores(module, inputs), semantic_scores(module, inputs * (1 + 1e-5))
        lead = scores[:, 1] - scores[:, 0]
        share, undecided = (lead > 0).float().mean((1, 2)), (lead.abs() < 1e-3).float().mean()
        if share.min() > 0.02 and share.max() < 0.98 and undecided < 0.001 and (scores - nearly).abs().max() < 1e-3:
            torch.save(dict(state_dict=module.state_dict()), path)
            return path
    raise AssertionError("no random weights give a mixture")
