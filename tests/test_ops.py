"""The plain-PyTorch operators against loops that follow the definitions."""

import math
import sys
from itertools import product

import lesionseg  # noqa: F401  # isort: skip  It has to come before mmcv.ops, which then finds its operators.
import mmcv.ops
import pytest
import torch
from mmcv.ops import multi_scale_deform_attn as attention
from torch.autograd import gradcheck

from lesionseg import ops
from lesionseg.environment import compiled_operators
from lesionseg.errors import DataError

HEIGHT, WIDTH = 6, 9
SETTINGS = list(product([0, 2], [True, False]))  # sampling ratio, aligned


@pytest.fixture(autouse=True)
def _plain_operators(monkeypatch):
    """mmcv's functions and classes call the plain operators, also where compiled ones are installed."""
    for name in ("nms", "roi_align", "multi_scale_deform_attn", "focal_loss", "modulated_deform_conv"):
        monkeypatch.setattr(sys.modules[f"mmcv.ops.{name}"], "ext_module", ops)


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def draw_boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(count, 2, generator=generator) * torch.tensor([80, 50])
    half = 2 + 15 * torch.rand(count, 2, generator=generator)
    return torch.cat([center - half, center + half], 1), torch.rand(count, generator=generator)


# Non-maximum suppression


def loop_iou(a, b, offset):
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    area_a, area_b = ((box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b))
    union = area_a + area_b - width * height
    return width * height / union if union else 0.0


def loop_nms(boxes, scores, threshold, offset):
    boxes, kept = boxes.tolist(), []
    for index in scores.sort(descending=True)[1].tolist():
        if all(loop_iou(boxes[index], boxes[other], offset) <= threshold for other in kept):
            kept.append(index)
    return kept


@pytest.mark.parametrize("block", [1, 7, 512])
@pytest.mark.parametrize(("threshold", "offset"), list(product([0.0, 0.3, 0.7], [0, 1])))
def test_nms_is_greedy(monkeypatch, block, threshold, offset):
    monkeypatch.setattr(ops, "NMS_BLOCK", block)
    boxes, scores = draw_boxes(120)
    kept = ops.nms(boxes, scores, iou_threshold=threshold, offset=offset)
    assert kept.dtype == torch.int64
    assert kept.tolist() == loop_nms(boxes, scores, threshold, offset)
    assert len(kept) < 120


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
def test_nms_takes_ties_in_the_order_of_the_sort(count):
    boxes = draw_boxes(count)[0]
    scores = torch.arange(count) % 3 / 4
    assert ops.nms(boxes, scores, 0.2, 0).tolist() == loop_nms(boxes, scores, 0.2, 0)


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
    assert ops.nms(strided, scores, 0.3, 0).tolist() == loop_nms(boxes.float(), scores, 0.3, 0)


def test_batched_nms_keeps_classes_apart():
    boxes, scores = draw_boxes(40)
    boxes, scores = boxes.repeat(2, 1), torch.cat([scores, scores - 0.001])
    labels = torch.arange(2).repeat_interleave(40)
    found, kept = mmcv.ops.batched_nms(boxes, scores, labels, dict(type="nms", iou_threshold=0.4))
    one_class = loop_nms(boxes[:40], scores[:40], 0.4, 0)
    assert set(kept.tolist()) == {*one_class, *(index + 40 for index in one_class)}
    torch.testing.assert_close(found, torch.cat([boxes, scores[:, None]], 1)[kept])
    assert found[:, 4].tolist() == sorted(found[:, 4].tolist(), reverse=True)


def test_batched_nms_without_boxes_or_suppression():
    settings = dict(type="nms", iou_threshold=0.4)
    found, kept = mmcv.ops.batched_nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), settings, class_agnostic=True)
    assert found.shape == (0, 5)
    assert kept.tolist() == []


# RoIAlign

REGIONS = torch.tensor(
    [
        [0, 2.0, 1.0, 6.0, 4.0],  # inside
        [1, 0.0, 0.0, 9.0, 6.0],  # the whole map
        [1, 6.5, 3.2, 13.0, 8.1],  # over the border
        [0, -3.0, -2.0, 2.0, 1.5],  # over the other border
        [0, 20.0, 12.0, 29.0, 15.0],  # outside
        [1, 3.3, 2.2, 3.3, 2.2],  # empty
        [0, 4.0, 2.0, 4.2, 5.0],  # narrower than a cell
        [1, -30.0, 1.0, 40.0, 2.0],  # many samples in one direction
        [0, -1.0, -1.0, 9.0, 6.0],  # samples on the limit
    ]
)


def bilinear(cells, y, x):
    """Value of one map (H, W) at a position, the border's value up to one cell outside, zero further out."""
    height, width = cells.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = min(int(y), height - 2), min(int(x), width - 2)
    down, right = y - top, x - left
    return sum(
        weight * float(cells[row, column])
        for weight, row, column in (
            ((1 - down) * (1 - right), top, left),
            ((1 - down) * right, top, left + 1),
            (down * (1 - right), top + 1, left),
            (down * right, top + 1, left + 1),
        )
    )


def loop_roi_align(maps, rois, size, scale, ratio, aligned):
    output = torch.zeros(len(rois), maps.shape[1], *size)
    shift = 0.5 if aligned else 0.0
    for (n, roi), c, p, q in product(enumerate(rois.tolist()), range(maps.shape[1]), range(size[0]), range(size[1])):
        x1, y1, x2, y2 = (value * scale - shift for value in roi[1:])
        width, height = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        count_y = ratio or math.ceil(height / size[0])
        count_x = ratio or math.ceil(width / size[1])
        samples = [
            bilinear(
                maps[int(roi[0]), c],
                y1 + (p + (i + 0.5) / count_y) * height / size[0],
                x1 + (q + (j + 0.5) / count_x) * width / size[1],
            )
            for i, j in product(range(count_y), range(count_x))
        ]
        output[n, c, p, q] = sum(samples) / max(len(samples), 1)
    return output


# One channel and nine take the two ways of computing.
@pytest.mark.parametrize("channels", [1, 9])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("ratio", "aligned"), SETTINGS)
def test_roi_align_follows_the_definition(channels, scale, ratio, aligned):
    maps = random(2, channels, HEIGHT, WIDTH)
    pooled = mmcv.ops.roi_align(maps, REGIONS, (2, 3), scale, ratio, "avg", aligned)
    expected = loop_roi_align(maps, REGIONS, (2, 3), scale, ratio, aligned)
    torch.testing.assert_close(pooled, expected, atol=2e-6, rtol=1e-5)
    assert pooled[4].abs().max() == 0
    assert pooled[0].abs().min() > 0


@pytest.mark.parametrize("channels", [1, 9])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_roi_align_of_maps_one_cell_wide(channels, shape):
    maps = random(1, channels, *shape)
    rois = torch.tensor([[0, -0.4, -0.3, 3.0, 2.0]])
    inside = maps.repeat(1, 1, *(2 if length == 1 else 1 for length in shape))
    # A second equal row or column changes no sample that is inside, as the border's value goes on for one cell.
    expected = loop_roi_align(inside, rois, (1, 1), 0.5, 3, True)
    torch.testing.assert_close(mmcv.ops.roi_align(maps, rois, (1, 1), 0.5, 3, "avg", True), expected)


@pytest.mark.parametrize("channels", [1, 9])
@pytest.mark.parametrize(("ratio", "aligned"), SETTINGS)
def test_roi_align_gradient(channels, ratio, aligned):
    maps = random(2, channels, HEIGHT, WIDTH, dtype=torch.float64).requires_grad_()
    rois = REGIONS.double()
    assert gradcheck(lambda x: mmcv.ops.roi_align(x, rois, (2, 3), 0.7, ratio, "avg", aligned), maps, fast_mode=True)


@pytest.mark.parametrize("channels", [1, 9])
def test_roi_align_in_parts_is_the_same(monkeypatch, channels):
    maps = random(2, channels, HEIGHT, WIDTH).requires_grad_()
    layer = mmcv.ops.RoIAlign((2, 3), 0.7)
    whole = layer(maps, REGIONS)
    gradient = torch.autograd.grad(whole.square().sum(), maps)[0]
    monkeypatch.setattr(ops, "MOST_CELLS", 30)
    monkeypatch.setattr(ops, "MOST_ELEMENTS", 100)
    parts = layer(maps, REGIONS)
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(torch.autograd.grad(parts.square().sum(), maps)[0], gradient)


@pytest.mark.parametrize("channels", [1, 9])
def test_roi_align_without_regions(channels):
    maps = random(2, channels, HEIGHT, WIDTH).requires_grad_()
    pooled = mmcv.ops.RoIAlign((2, 3))(maps, torch.zeros(0, 5))
    assert pooled.shape == (0, channels, 2, 3)
    assert torch.autograd.grad(pooled.sum(), maps)[0].abs().max() == 0


@pytest.mark.parametrize("channels", [1, 9])
def test_roi_align_of_undefined_and_inverted_regions_is_zero(channels):
    rois = torch.tensor([[0, math.nan, 1, 4, 3], [0, 1, 1, math.inf, 3], [0, 5, 4, 2, 1]])
    for ratio in (0, 2):
        pooled = mmcv.ops.roi_align(random(1, channels, HEIGHT, WIDTH), rois[:2], (2, 3), 1.0, ratio)
        assert pooled.abs().max() == 0
    assert mmcv.ops.roi_align(random(1, channels, HEIGHT, WIDTH), rois[2:], (2, 3)).abs().max() == 0


@pytest.mark.parametrize("channels", [1, 9])
def test_roi_align_of_strided_maps(channels):
    maps = random(2, WIDTH, HEIGHT, channels).permute(0, 3, 2, 1)
    assert not maps.is_contiguous()
    pooled = mmcv.ops.roi_align(maps, REGIONS, (2, 3), 0.7)
    torch.testing.assert_close(pooled, mmcv.ops.roi_align(maps.contiguous(), REGIONS, (2, 3), 0.7))


@pytest.mark.parametrize("channels", [1, 9])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_roi_align_in_half_precision_rounds_only_the_result(channels, dtype):
    maps = random(2, channels, HEIGHT, WIDTH).to(dtype).requires_grad_()
    rois = REGIONS.to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = mmcv.ops.roi_align(maps, rois, (2, 3), 0.7)
    pooled.sum().backward()
    wide = maps.detach().float().requires_grad_()
    expected = mmcv.ops.roi_align(wide, rois.float(), (2, 3), 0.7)
    expected.sum().backward()
    torch.testing.assert_close(pooled, expected.to(dtype), atol=0, rtol=0)
    torch.testing.assert_close(maps.grad, wide.grad.to(dtype), atol=0, rtol=0)


def test_roi_align_refuses_max_pooling():
    with pytest.raises(DataError, match=r"roi_align_forward with pool_mode='max'.*uv sync"):
        mmcv.ops.roi_align(random(1, 2, HEIGHT, WIDTH), REGIONS[:1], (2, 3), 1.0, 0, "max")


# Multi-scale deformable attention

SIZES = [(4, 7), (2, 3)]
STARTS = torch.tensor([0, 28])


def attention_inputs(dtype=torch.float32):
    """Value, sizes, starts, locations (some outside), weights of 2 images, 34 cells, 5 queries, 2 heads, 2 levels."""
    generator = torch.Generator().manual_seed(0)
    locations = 1.4 * torch.rand(2, 5, 2, 2, 3, 2, generator=generator, dtype=dtype) - 0.2
    weights = torch.rand(2, 5, 2, 2, 3, generator=generator, dtype=dtype)
    return random(2, 34, 2, 4, dtype=dtype), torch.tensor(SIZES), STARTS, locations, weights


def loop_attention(value, locations, weights):
    def at(cells, y, x):
        """Bilinear value of (H, W, C), with zeros around."""
        total = torch.zeros(cells.shape[2])
        for row, column in product((math.floor(y), math.floor(y) + 1), (math.floor(x), math.floor(x) + 1)):
            if 0 <= row < cells.shape[0] and 0 <= column < cells.shape[1]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * cells[row, column]
        return total

    batch, queries, heads, _, points = locations.shape[:5]
    output = torch.zeros(batch, queries, heads, value.shape[3])
    for b, q, head, (level, (height, width)), point in product(
        range(batch), range(queries), range(heads), enumerate(SIZES), range(points)
    ):
        start = int(STARTS[level])
        cells = value[b, start : start + height * width, head].view(height, width, -1)
        x, y = locations[b, q, head, level, point].tolist()
        output[b, q, head] += weights[b, q, head, level, point] * at(cells, y * height - 0.5, x * width - 0.5)
    return output.flatten(2)


@pytest.mark.parametrize("most", [1, 2**25])
def test_attention_follows_the_definition(monkeypatch, most):
    monkeypatch.setattr(ops, "MOST_ELEMENTS", most)
    value, sizes, starts, locations, weights = attention_inputs()
    output = ops.ms_deform_attn_forward(value, sizes, starts, locations, weights, im2col_step=64)
    torch.testing.assert_close(output, loop_attention(value, locations, weights), atol=1e-5, rtol=1e-5)
    expected = attention.multi_scale_deformable_attn_pytorch(value, sizes, locations, weights)
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize("most", [1, 2**25])
def test_attention_gradient(monkeypatch, most):
    monkeypatch.setattr(ops, "MOST_ELEMENTS", most)
    value, sizes, starts, locations, weights = attention_inputs(torch.float64)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]

    def attend(value, locations, weights):
        return attention.MultiScaleDeformableAttnFunction.apply(value, sizes, starts, locations, weights, 64)

    assert gradcheck(attend, inputs, fast_mode=True)


def test_attention_in_half_precision_rounds_only_the_result():
    value, sizes, starts, locations, weights = attention_inputs(torch.float16)
    output = attention.MultiScaleDeformableAttnFunction.apply(value, sizes, starts, locations, weights, 64)
    expected = ops.ms_deform_attn_forward(value.float(), sizes, starts, locations.float(), weights.float(), 64)
    torch.testing.assert_close(output, expected.half(), atol=0, rtol=0)


def attention_module_call(device="cpu"):
    """Output and parameters' gradients of the public module."""
    torch.manual_seed(0)
    module = attention.MultiScaleDeformableAttention(16, num_heads=4, num_levels=2, num_points=3, batch_first=True)
    torch.nn.init.normal_(module.sampling_offsets.weight, std=0.3)
    # Drawn on the CPU: a GPU's generator draws other numbers.
    module = module.to(device).eval()
    query = random(2, 34, 16).to(device)
    output = module(
        query,
        reference_points=torch.rand(2, 34, 2, 2, generator=torch.Generator().manual_seed(1)).to(device),
        spatial_shapes=torch.tensor(SIZES, device=device),
        level_start_index=STARTS.to(device),
    )
    return output, torch.autograd.grad(output.square().sum(), list(module.parameters()))


def test_attention_module_is_the_same_with_the_operator(monkeypatch):
    expected = attention_module_call()

    def attend(value, sizes, locations, weights):
        return attention.MultiScaleDeformableAttnFunction.apply(value, sizes, STARTS, locations, weights, 64)

    # On the CPU the module would use its own slower way.
    monkeypatch.setattr(attention, "multi_scale_deformable_attn_pytorch", attend)
    torch.testing.assert_close(attention_module_call(), expected)


# Focal loss


def loop_focal_loss(logits, target, weight, gamma, alpha):
    output = torch.zeros_like(logits)
    for n, c in product(range(logits.shape[0]), range(logits.shape[1])):
        p = 1 / (1 + math.exp(-float(logits[n, c])))
        if target[n] == c:
            loss = -alpha * (1 - p) ** gamma * math.log(p)
        else:
            loss = -(1 - alpha) * p**gamma * math.log(1 - p)
        output[n, c] = loss * (float(weight[target[n]]) if weight is not None else 1)
    return output


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 1.0])])
def test_focal_loss_follows_the_definition(weight):
    logits, target = 2 * random(6, 3), torch.tensor([0, 2, 1, 1, 0, 2])
    loss = mmcv.ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "none")
    torch.testing.assert_close(loss, loop_focal_loss(logits, target, weight, 2.0, 0.25))


def test_focal_loss_of_no_class_is_negative_for_all():
    logits = random(1, 3)
    loss = mmcv.ops.sigmoid_focal_loss(logits, torch.tensor([3]), 2.0, 0.25, None, "none")
    p = logits.sigmoid()
    torch.testing.assert_close(loss, -0.75 * p**2 * (1 - p).log())


def test_focal_loss_gradient():
    logits = random(4, 3, dtype=torch.float64).requires_grad_()
    weight = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    target = torch.tensor([0, 2, 1, 1])
    assert gradcheck(
        lambda x: mmcv.ops.sigmoid_focal_loss(x, target, 1.5, 0.25, weight, "mean"), logits, fast_mode=True
    )


# What is not here


def test_another_operator_says_how_to_get_it():
    with pytest.raises(
        DataError, match=r"modulated_deform_conv_forward.*uv sync --reinstall-package onedl-mmcv"
    ) as info:
        mmcv.ops.modulated_deform_conv2d(
            random(1, 2, 5, 6), random(1, 18, 5, 6), random(1, 9, 5, 6), random(3, 2, 3, 3), None, 1, 1
        )
    assert "\n" not in str(info.value)


# Other devices and the compiled operators


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
class TestOnTheGPU:
    def test_nms(self):
        boxes, scores = draw_boxes(700)
        kept = ops.nms(boxes.cuda(), scores.cuda(), 0.3, 0)
        assert kept.tolist() == loop_nms(boxes, scores, 0.3, 0)

    @pytest.mark.parametrize("channels", [1, 9])
    def test_roi_align(self, channels):
        layer = mmcv.ops.RoIAlign((2, 3), 0.7)
        results = []
        for device in ("cpu", "cuda"):
            maps = random(2, channels, HEIGHT, WIDTH).to(device).requires_grad_()
            pooled = layer(maps, REGIONS.to(device))
            results.append((pooled.cpu(), torch.autograd.grad(pooled.square().sum(), maps)[0].cpu()))
        torch.testing.assert_close(*results)

    @pytest.mark.parametrize("channels", [1, 9])
    def test_roi_align_without_regions(self, channels):
        maps = random(2, channels, HEIGHT, WIDTH).cuda().requires_grad_()
        for rois in (torch.zeros(0, 5), REGIONS[4:5]):
            pooled = mmcv.ops.RoIAlign((2, 3))(maps, rois.cuda())
            assert torch.autograd.grad(pooled.sum(), maps)[0].abs().max() == 0

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_under_autocast(self, dtype):
        maps = random(2, 16, HEIGHT, WIDTH).cuda().requires_grad_()
        with torch.autocast("cuda", dtype):
            features = torch.nn.Conv2d(16, 16, 1).cuda()(maps)
            pooled = mmcv.ops.RoIAlign((2, 3), 0.7)(features, REGIONS.cuda().to(features))
        pooled.sum().backward()
        assert pooled.dtype == dtype
        assert maps.grad.isfinite().all()

    def test_attention_module(self):
        on_cpu, on_gpu = attention_module_call("cpu"), attention_module_call("cuda")
        torch.testing.assert_close(on_gpu, on_cpu, check_device=False, atol=1e-4, rtol=1e-4)

    def test_focal_loss(self):
        logits, target = random(6, 3), torch.tensor([0, 2, 1, 1, 0, 3])
        loss = mmcv.ops.sigmoid_focal_loss(logits.cuda(), target.cuda(), 2.0, 0.25, None, "none")
        torch.testing.assert_close(loss.cpu(), loop_focal_loss(logits, target, None, 2.0, 0.25))


@pytest.mark.skipif(compiled_operators() is None, reason="mmcv's operators are not compiled here")
class TestAgainstTheCompiled:
    def test_nms(self):
        boxes, scores = draw_boxes(1000)
        scores = (scores * 50).round() / 50
        kept = compiled_operators().nms(boxes, scores, iou_threshold=0.4, offset=0)
        assert ops.nms(boxes, scores, 0.4, 0).tolist() == kept.tolist()

    @pytest.mark.parametrize("channels", [1, 9])
    @pytest.mark.parametrize(("ratio", "aligned"), SETTINGS)
    def test_roi_align(self, channels, ratio, aligned):
        maps, unused = random(2, channels, HEIGHT, WIDTH), torch.zeros(0)
        settings = dict(
            aligned_height=2,
            aligned_width=3,
            spatial_scale=0.7,
            sampling_ratio=ratio,
            pool_mode=1,
            aligned=aligned,
        )
        results = []
        for module in (ops, compiled_operators()):
            pooled, gradient = torch.zeros(len(REGIONS), channels, 2, 3), torch.zeros_like(maps)
            module.roi_align_forward(maps, REGIONS, pooled, unused, unused, **settings)
            module.roi_align_backward(pooled, REGIONS, unused, unused, gradient, **settings)
            results.append((pooled, gradient))
        torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)
