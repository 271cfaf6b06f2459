import pytest
from helpers import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

import lesionseg.openmmlab  # noqa: F401
from lesionseg.engine.recipes import layer_decay, loaders, schedule
from lesionseg.models.vision_transformer import TIMMVisionTransformer


def test_a_schedule_ends_with_its_training():
    found = schedule(max_iters=120, warmup_iters=20, val_interval=40, start_factor=0.1)
    warm_up, decay = found["param_scheduler"]
    assert (warm_up["begin"], warm_up["end"], warm_up["start_factor"]) == (0, 20, 0.1)
    assert (decay["begin"], decay["end"]) == (20, 120)
    assert found["train_cfg"] == dict(type="IterBasedTrainLoop", max_iters=120, val_interval=40)


def test_loaders_share_a_data_set_and_keep_what_is_not_named():
    found = loaders(data_root="data/mine")
    assert found["data_root"] == "data/mine"
    for split in ("train", "val", "test"):
        assert found[f"{split}_dataloader"] == dict(dataset=dict(data_root="data/mine"))
    found = loaders(4, ([1], [2], [3]))
    assert found["train_dataloader"] == dict(batch_size=4, dataset=dict(pipeline=[1]))
    assert found["test_dataloader"] == dict(dataset=dict(pipeline=[3]))


def test_lower_blocks_learn_slower_and_what_is_no_weight_does_not_decay():
    vit = TIMMVisionTransformer("vit_tiny_patch16_224", img_size=32, embed_dim=8, num_heads=2)
    model = nn.ModuleDict(dict(backbone=vit, head=nn.Linear(2, 2)))
    settings = dict(
        optimizer=dict(type="AdamW", lr=4.0, weight_decay=0.1),
        constructor="GroupedOptimWrapperConstructor",
        paramwise_cfg=dict(custom_keys=layer_decay(depth=12, rate=0.5)),
    )
    groups = build_optim_wrapper(model, settings).optimizer.param_groups
    of = {id(parameter): (group["lr"], group["weight_decay"]) for group in groups for parameter in group["params"]}
    found = {name.removeprefix("backbone.timm_model.model."): of[id(value)] for name, value in model.named_parameters()}
    assert found["head.weight"] == (4.0, 0.1)
    assert found["blocks.11.attn.qkv.weight"] == (2.0, 0.1)
    assert found["blocks.10.mlp.fc1.weight"] == (1.0, 0.1)
    assert found["blocks.10.norm2.weight"] == (1.0, 0.0)
    assert found["blocks.1.attn.qkv.weight"] == (4.0 / 2**11, 0.1)
    assert found["patch_embed.proj.weight"] == (4.0 / 2**13, 0.1)
    assert found["pos_embed"] == found["cls_token"] == (4.0 / 2**13, 0.0)
    # Each block and the embeddings decayed and not, and the head.
    assert len(groups) == 2 * 13 + 1


@pytest.mark.parametrize(
    ("family", "leaf"),
    [
        ("isic2018", "mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py"),
        ("isic2018", "mmseg::unet/unet-s5-d16_fcn_4xb4-160k_cityscapes-512x1024.py"),
        ("isic2018_instances", "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"),
    ],
)
def test_any_config_of_upstream_takes_the_data_in_a_few_lines(family, leaf, tmp_path):
    (tmp_path / "new.py").write_text(
        f"_base_ = ['{leaf}', '{ROOT}/configs/_base_/{family}.py']\n"
        "from lesionseg.engine.recipes import schedule\n"
        "globals().update(_base_.isic)\n"
        "globals().update(schedule(max_iters=100, warmup_iters=10, val_interval=50))\n"
    )
    cfg = Config.fromfile(tmp_path / "new.py")
    assert cfg.train_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root == "data/ISIC"
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_iters == 100
    assert cfg.default_hooks.checkpoint.type == "ValidatedCheckpointHook"
    assert [metric.type for metric in cfg.test_evaluator][-1] == "LesionMetric"
