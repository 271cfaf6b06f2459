"""Non-maximum suppression against a loop that follows the definition."""

import lesionseg  # noqa: F401  # isort: skip  It has to come before mmcv.ops, which then finds its operators.
import mmcv.ops
import pytest
import torch
from kernel_checks import compile_for_a_gpu, run_interpreted

from lesionseg import ops
from lesionseg.environment import compiled_operators
from lesionseg.errors import DataError
from lesionseg.ops.suppression import best_of_groups


def draw_boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator) * torch.tensor([80, 50])
    half = 2 + 15 * torch.rand(count, 2, generator=generator)
    return torch.cat([center - half, center + half], 1), torch.rand(count, generator=generator)


def loop_iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    area_a, area_b = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    union = area_a + area_b - width * height
    return width * height / union if union else 0.0


def loop_nms(boxes, scores, threshold):
    boxes, kept = boxes.tolist(), []
    for index in scores.sort(descending=True, stable=True)[1].tolist():
        if all(loop_iou(boxes[index], boxes[other]) <= threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_nms_is_greedy(threshold):
    boxes, scores = draw_boxes(120)
    kept = ops.nms(boxes, scores, iou_threshold=threshold, offset=0)
    assert kept.dtype == torch.int64
    assert kept.tolist() == loop_nms(boxes, scores, threshold)
    assert len(kept) < 120


def test_nms_refuses_widths_that_count_pixels():
    with pytest.raises(DataError, match=r"nms with offset=1 exists only as a compiled operator.*uv sync"):
        mmcv.ops.nms(*draw_boxes(2), 0.5, offset=1)


def test_nms_keeps_a_box_that_only_a_suppressed_one_overlaps():
    # Neighbours overlap by 3 / 5, every other one by 1 / 3.
    boxes = torch.tensor([[step, 0.0, step + 4, 3] for step in range(5)])
    assert ops.nms(boxes, torch.linspace(1, 0.5, 5), 0.5, 0).tolist() == [0, 2, 4]


def test_nms_suppresses_above_the_threshold_only():
    boxes = torch.tensor([[0.0, 0, 4, 2], [0, 0, 4, 1]])
    scores = torch.tensor([0.1, 0.9])
    assert ops.nms(boxes, scores, 0.5, 0).tolist() == [1, 0]
    assert ops.nms(boxes, scores, 0.49, 0).tolist() == [1]


@pytest.mark.parametrize("count", [5, 300])
def test_nms_takes_the_first_of_tied_boxes_first(count):
    boxes = draw_boxes(count)[0]
    scores = torch.arange(count) % 3 / 4
    assert ops.nms(boxes, scores, 0.2, 0).tolist() == loop_nms(boxes, scores, 0.2)


def test_nms_keeps_empty_boxes():
    boxes = torch.tensor([[3.0, 4, 3, 4], [3, 4, 3, 4], [0, 0, 9, 8]])
    assert ops.nms(boxes, torch.tensor([0.5, 0.4, 0.3]), 0.5, 0).tolist() == [0, 1, 2]


def test_nms_without_boxes():
    kept = ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5, 0)
    assert kept.tolist() == []
    assert kept.dtype == torch.int64


def test_nms_takes_half_precision_and_strided_boxes():
    boxes, scores = draw_boxes(60)
    boxes, scores = boxes.half(), scores.half()
    strided = boxes.T.contiguous().T
    assert not strided.is_contiguous()
    assert ops.nms(strided, scores, 0.3, 0).tolist() == loop_nms(boxes.float(), scores, 0.3)


@pytest.mark.parametrize("threshold", [0.3, 0.7])
@pytest.mark.parametrize("count", [1, 40, 300])
def test_groups_keep_what_each_keeps_alone(threshold, count):
    for seed in range(20):
        groups = torch.stack([draw_boxes(count, 100 * seed + number)[0] for number in range(17)])
        # Equal boxes, boxes without an area, and boxes that are all the same.
        groups[0, count // 2 :] = groups[0, : count - count // 2]
        groups[1, ::3, 2:] = groups[1, ::3, :2]
        groups[2] = groups[2, :1]
        ranks = torch.arange(count, 0, -1).float()
        expected = torch.zeros(17, count, dtype=torch.bool)
        for row, boxes in zip(expected, groups, strict=True):
            row[ops.nms(boxes, ranks, threshold, 0)] = True
        assert torch.equal(best_of_groups(groups, threshold), expected)


def test_groups_decide_boxes_that_depend_on_each_other_in_a_long_row():
    # Each overlaps only its neighbours by more than a third: every other one stays.
    start = torch.arange(200.0)[:, None]
    boxes = torch.cat([start, torch.zeros_like(start), start + 2.1, torch.ones_like(start)], 1)
    assert best_of_groups(boxes[None], 1 / 3).tolist() == [[True, False] * 100]


INTERPRETED = """
import torch
from lesionseg.ops.suppression import best_of_groups
import lesionseg.ops.suppression_kernels as kernels

torch.manual_seed(0)
for count in (0, 1, 7, 40):
    center, half = 60 * torch.rand(3, count, 2), 2 + 15 * torch.rand(3, count, 2)
    boxes = torch.cat([center - half, center + half], 2)
    # Equal boxes, and boxes without an area.
    boxes[0, count // 2 :] = boxes[0, : count - count // 2].clone()
    boxes[1, ::3, 2:] = boxes[1, ::3, :2]
    for threshold in (0.3, 0.7):
        assert torch.equal(kernels.best_of_groups(boxes, threshold), best_of_groups(boxes, threshold))
"""


def test_the_kernel_keeps_what_plain_pytorch_keeps():
    run_interpreted(INTERPRETED)


def test_the_kernel_compiles_for_a_gpu_that_is_not_there(tmp_path):
    types = dict(boxes="*fp32", kept="*i8", iou_threshold="fp32")
    compile_for_a_gpu("suppression", ["_suppress"], types, dict(BLOCK=2048), tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("count", [1, 300, 2000])
def test_groups_on_a_gpu(count):
    groups = torch.stack([draw_boxes(count, seed)[0] for seed in range(9)])
    assert torch.equal(best_of_groups(groups.cuda(), 0.7).cpu(), best_of_groups(groups, 0.7))


def test_batched_nms_keeps_classes_apart():
    boxes, scores = draw_boxes(40)
    boxes, scores = boxes.repeat(2, 1), torch.cat([scores, scores - 0.001])
    labels = torch.arange(2).repeat_interleave(40)
    found, kept = mmcv.ops.batched_nms(boxes, scores, labels, dict(type="nms", iou_threshold=0.4))
    one_class = loop_nms(boxes[:40], scores[:40], 0.4)
    assert set(kept.tolist()) == {*one_class, *(index + 40 for index in one_class)}
    torch.testing.assert_close(found, torch.cat([boxes, scores[:, None]], 1)[kept])
    assert found[:, 4].tolist() == sorted(found[:, 4].tolist(), reverse=True)


def test_batched_nms_without_boxes_or_suppression():
    settings = dict(type="nms", iou_threshold=0.4)
    found, kept = mmcv.ops.batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), settings, class_agnostic=True)
    assert found.shape == (0, 5)
    assert kept.tolist() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_nms_on_a_gpu():
    boxes, scores = draw_boxes(700)
    kept = ops.nms(boxes.cuda(), scores.cuda(), 0.3, 0)
    assert kept.tolist() == loop_nms(boxes, scores, 0.3)


@pytest.mark.skipif(compiled_operators() is None, reason="mmcv's operators are not compiled here")
def test_nms_as_compiled():
    boxes, scores = draw_boxes(1000)
    scores = (scores * 50).round() / 50
    kept = compiled_operators().nms(boxes, scores, iou_threshold=0.4, offset=0)
    assert ops.nms(boxes, scores, 0.4, 0).tolist() == kept.tolist()
