import pytest
import torch
from helpers import ROOT
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmseg.models.decode_heads import Mask2FormerHead
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


def drawn_batch(classes_of_images, queries=10):
    generator = torch.Generator().manual_seed(3)
    images = len(classes_of_images)
    scores = list(torch.randn(images, queries, 3, generator=generator))
    masks = list(4 * torch.randn(images, queries, HEIGHT // 4, WIDTH // 4, generator=generator))
    truths = [
        InstanceData(
            labels=torch.tensor(classes, dtype=torch.int64),
            masks=(torch.rand(len(classes), HEIGHT, WIDTH, generator=generator) > 0.5).long(),
        )
        for classes in classes_of_images
    ]
    return scores, masks, truths


# Lesion and skin; skin alone; a mask that is lesion all over; both in the other order.
@pytest.mark.parametrize("classes", [[[0, 1]], [[0, 1], [0], [1], [1, 0], [0, 1]]])
def test_batch_is_matched_as_upstream_matches_image_by_image(head, classes, monkeypatch):
    scores, masks, truths = drawn_batch(classes)
    # Upstream draws other points for each image; with the same ones everything has to be the same.
    points = torch.rand(1, head.num_points, 2, generator=torch.Generator().manual_seed(5))
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: points)
    *lists, matched = head.get_targets(scores, masks, truths, [{}] * len(classes))
    *expected_lists, expected_matched = Mask2FormerHead.get_targets(head, scores, masks, truths, [{}] * len(classes))
    assert matched == expected_matched == sum(map(len, classes))
    for ours, expected in zip(lists, expected_lists, strict=True):
        for image, (own, other) in enumerate(zip(ours, expected, strict=True)):
            assert own.dtype == other.dtype
            assert torch.equal(own, other), image


def test_queries_learn_only_from_their_own_image(head):
    scores, masks, truths = drawn_batch([[0, 1], [0, 1]])
    # The first image's queries fit the second image's masks perfectly, and must not be matched with them.
    masks[0][:2] = torch.nn.functional.interpolate(truths[1].masks[None].float(), masks[0].shape[-2:])[0] * 20 - 10
    _, _, mask_targets, mask_weights, _ = head.get_targets(scores, masks, truths, [{}] * 2)
    for truth, targets, weights in zip(truths, mask_targets, mask_weights, strict=True):
        assert weights.sum() == 2
        assert {mask.numpy().tobytes() for mask in targets} == {mask.numpy().tobytes() for mask in truth.masks}
