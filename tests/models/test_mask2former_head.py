import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmseg.registry import MODELS

import lesionseg.openmmlab  # noqa: F401

HEIGHT, WIDTH = 24, 32


@pytest.fixture(scope="module")
def head():
    cfg = Config.fromfile(ROOT / "configs/mask2former/mask2former_r50_1xb4-20k_isic2018-512x512.py")
    init_default_scope("mmseg")
    settings = cfg.model.decode_head
    return MODELS.build(dict(settings, train_cfg=dict(settings.train_cfg), num_queries=10))


def losses(head, dtype, images=8):
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(images, 10, 3, generator=generator).to(torch.float16)
    masks = torch.randn(images, 10, HEIGHT // 4, WIDTH // 4, generator=generator).to(torch.float16)
    truth = (torch.rand(images, 1, HEIGHT, WIDTH, generator=generator) > 0.5).long()
    instances = [InstanceData(labels=torch.tensor([0, 1]), masks=torch.cat([1 - mask, mask])) for mask in truth]
    torch.manual_seed(1)
    return head.loss_by_feat([scores.to(dtype)] * 2, [masks.to(dtype)] * 2, instances, [{}] * images)


def test_losses_of_float16_outputs_are_those_of_float32(head):
    # 8 images x 2 classes x 12,544 points are more than the largest float16, 65,504.
    expected = losses(head, torch.float32)
    assert all(value > 0 for value in expected.values())
    for name, value in losses(head, torch.float16).items():
        assert value.dtype == torch.float32, name
        assert value == expected[name], name


def test_autocast_does_not_reach_the_losses(head):
    expected = losses(head, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert losses(head, torch.float32) == expected
