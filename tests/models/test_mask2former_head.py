"""Mask2Former's head against MMSegmentation's, of the same weights and with the same random points."""

from copy import deepcopy
from functools import cache

import pytest
import torch
from helpers import MASK2FORMER
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

import lesionseg.openmmlab  # noqa: F401

HEIGHT, WIDTH = 96, 128
PIXEL_DECODERS = {"Mask2FormerHead": "mmdet.MSDeformAttnPixelDecoder", "LesionMask2FormerHead": "LesionPixelDecoder"}


@cache
def head_settings():
    return Config.fromfile(MASK2FORMER).model.decode_head


def build_head(kind, classes=2, **train_cfg):
    init_default_scope("mmseg")
    settings = deepcopy(head_settings())
    settings.update(type=kind, num_classes=classes)
    settings.pixel_decoder.type = PIXEL_DECODERS[kind]
    settings.loss_cls.class_weight = [1.0] * classes + [0.1]
    settings.train_cfg.update(train_cfg)
    torch.manual_seed(0)
    head = MODELS.build(settings)
    # As they begin, all queries have nearly the same mask and class.
    for layer, std in ((head.query_feat, 2), (head.cls_embed, 1), (head.pixel_decoder.mask_feature, 1)):
        torch.nn.init.normal_(layer.weight, std=std)
    return head


def drawn_batch(classes_of_images):
    """Features of strides 4, 8 and 16, and samples of patches, each of one of an image's classes."""
    generator = torch.Generator().manual_seed(3)
    features, samples = [], []
    for channels, stride in ((64, 4), (128, 8), (256, 16)):
        shape = (len(classes_of_images), channels, HEIGHT // stride, WIDTH // stride)
        features.append(torch.randn(shape, generator=generator).requires_grad_())
    for classes in classes_of_images:
        patches = torch.tensor(classes)[torch.randint(len(classes), (1, 6, 8), generator=generator)]
        labels = patches.repeat_interleave(HEIGHT // 6, 1).repeat_interleave(WIDTH // 8, 2)
        samples.append(SegDataSample(gt_sem_seg=PixelData(data=labels)))
    return features, samples


@pytest.fixture
def _same_points(monkeypatch):
    """Of every layer, image and mask."""

    def rand(*shape, **kwargs):
        count, points, _ = torch.Size(shape[0] if len(shape) == 1 else shape)
        return draw(1, points, 2, generator=torch.Generator().manual_seed(points)).repeat(count, 1, 1)

    draw = torch.rand
    monkeypatch.setattr(torch, "rand", rand)


# Skin and lesion in each image; skin alone, lesion alone and nothing that counts among them; more classes than two.
@pytest.mark.usefixtures("_same_points")
@pytest.mark.parametrize(
    "classes", [[[0, 1], [1, 0]], [[0, 1], [0], [1], [255], [0, 1, 255]], [[255]], [[0, 1, 2, 3], [3, 1], [255], [2]]]
)
def test_losses_and_gradients_are_upstreams(classes):
    features, samples = drawn_batch(classes)
    count = 4 if len(classes) == 4 else 2
    found = []
    for kind in ("Mask2FormerHead", "LesionMask2FormerHead"):
        head = build_head(kind, count)
        losses = {name: loss.squeeze() for name, loss in head.loss(features, samples, None).items()}
        gradients = torch.autograd.grad(sum(losses.values()), [*features, head.mask_embed[0].weight])
        found.append((losses, gradients))
    (expected, expected_gradients), (losses, gradients) = found
    assert list(losses) == list(expected)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-4, atol=1e-5)


def test_checkpoints_of_upstream_predict_the_same():
    upstream, head = build_head("Mask2FormerHead").eval(), build_head("LesionMask2FormerHead").eval()
    torch.nn.init.normal_(upstream.query_feat.weight)
    head.load_state_dict(upstream.state_dict())
    features, _ = drawn_batch([[0, 1]] * 2)
    metas = [dict(img_shape=(HEIGHT, WIDTH), pad_shape=(HEIGHT, WIDTH))] * 2
    with torch.no_grad():
        torch.testing.assert_close(head.predict(features, metas, None), upstream.predict(features, metas, None))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.usefixtures("_same_points")
def test_losses_of_mixed_precision_are_float32_and_near_those(dtype):
    # 8 images x 2 classes x 5,000 points are more than the largest float16, 65,504.
    head = build_head("LesionMask2FormerHead", num_points=5000)
    features, samples = drawn_batch([[0, 1]] * 8)
    with torch.no_grad():
        expected = head.loss(features, samples, None)
        with torch.autocast("cpu", dtype):
            losses = head.loss(features, samples, None)
    for name, loss in losses.items():
        assert loss.dtype == torch.float32, name
        assert loss > 0, name
        # Rounding may decide between two queries, whose classes are not alike.
        if "loss_cls" not in name:
            torch.testing.assert_close(loss, expected[name], rtol=0.05, atol=0)
