"""RoIAlign against a loop that follows the definition."""

import math
from itertools import product

import lesionseg  # noqa: F401  # isort: skip  It has to come before mmcv.ops, which then finds its operators.
import mmcv.ops
import pytest
import torch
from operator_inputs import HEIGHT, WIDTH, random
from torch.autograd import gradcheck

from lesionseg import ops
from lesionseg.environment import compiled_operators
from lesionseg.errors import DataError

SETTINGS = list(product([0, 2], [True, False]))  # sampling ratio, aligned

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


# On a CPU, few channels and many take two ways of computing.
@pytest.mark.parametrize("channels", [1, 17])
@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize(("ratio", "aligned"), SETTINGS)
def test_roi_align_follows_the_definition(channels, scale, ratio, aligned):
    maps = random(2, channels, HEIGHT, WIDTH)
    pooled = mmcv.ops.roi_align(maps, REGIONS, (2, 3), scale, ratio, "avg", aligned)
    expected = loop_roi_align(maps, REGIONS, (2, 3), scale, ratio, aligned)
    torch.testing.assert_close(pooled, expected, atol=2e-6, rtol=1e-5)
    assert pooled[4].abs().max() == 0
    assert pooled[0].abs().min() > 0


@pytest.mark.parametrize("channels", [1, 17])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_roi_align_of_maps_one_cell_wide(channels, shape):
    maps = random(1, channels, *shape)
    rois = torch.tensor([[0, -0.4, -0.3, 3.0, 2.0]])
    inside = maps.repeat(1, 1, *(2 if length == 1 else 1 for length in shape))
    # A second equal row or column changes no sample that is inside, as the border's value goes on for one cell.
    expected = loop_roi_align(inside, rois, (1, 1), 0.5, 3, True)
    torch.testing.assert_close(mmcv.ops.roi_align(maps, rois, (1, 1), 0.5, 3, "avg", True), expected)


@pytest.mark.parametrize("channels", [1, 17])
@pytest.mark.parametrize(("ratio", "aligned"), SETTINGS)
def test_roi_align_gradient(channels, ratio, aligned):
    maps = random(2, channels, HEIGHT, WIDTH, dtype=torch.float64).requires_grad_()
    rois = REGIONS.double()
    assert gradcheck(lambda x: mmcv.ops.roi_align(x, rois, (2, 3), 0.7, ratio, "avg", aligned), maps, fast_mode=True)


@pytest.mark.parametrize("channels", [1, 17])
def test_roi_align_without_regions(channels):
    maps = random(2, channels, HEIGHT, WIDTH).requires_grad_()
    pooled = mmcv.ops.RoIAlign((2, 3))(maps, torch.zeros(0, 5))
    assert pooled.shape == (0, channels, 2, 3)
    assert torch.autograd.grad(pooled.sum(), maps)[0].abs().max() == 0


@pytest.mark.parametrize("channels", [1, 17])
def test_roi_align_of_undefined_and_inverted_regions_is_zero(channels):
    rois = torch.tensor([[0, math.nan, 1, 4, 3], [0, 1, 1, math.inf, 3], [0, 5, 4, 2, 1]])
    for ratio in (0, 2):
        pooled = mmcv.ops.roi_align(random(1, channels, HEIGHT, WIDTH), rois[:2], (2, 3), 1.0, ratio)
        assert pooled.abs().max() == 0
    assert mmcv.ops.roi_align(random(1, channels, HEIGHT, WIDTH), rois[2:], (2, 3)).abs().max() == 0


@pytest.mark.parametrize("channels", [1, 17])
@pytest.mark.parametrize(("ratio", "aligned"), SETTINGS)
def test_roi_align_of_absurd_regions_ends_and_leaves_the_others_alone(channels, ratio, aligned):
    far = 1e9
    absurd = torch.tensor([[0, -far, -far, far, far], [1, far, 2, -far, 3], [0, 6, 0, 2, far], [1, far, far, far, far]])
    maps = random(2, channels, HEIGHT, WIDTH).requires_grad_()
    pooled = mmcv.ops.roi_align(maps, torch.cat([absurd, REGIONS]), (2, 3), 1.0, ratio, "avg", aligned)
    assert pooled.isfinite().all()
    assert pooled[3].abs().max() == 0
    alone = mmcv.ops.roi_align(maps, REGIONS, (2, 3), 1.0, ratio, "avg", aligned)
    torch.testing.assert_close(pooled[len(absurd) :], alone)
    assert torch.autograd.grad(pooled.sum(), maps)[0].isfinite().all()


@pytest.mark.parametrize("channels", [1, 17])
def test_roi_align_of_strided_maps(channels):
    maps = random(2, WIDTH, HEIGHT, channels).permute(0, 3, 2, 1)
    assert not maps.is_contiguous()
    pooled = mmcv.ops.roi_align(maps, REGIONS, (2, 3), 0.7)
    torch.testing.assert_close(pooled, mmcv.ops.roi_align(maps.contiguous(), REGIONS, (2, 3), 0.7))


@pytest.mark.parametrize("channels", [1, 17])
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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("channels", [1, 17])
def test_roi_align_on_a_gpu(channels):
    layer = mmcv.ops.RoIAlign((2, 3), 0.7)
    results = []
    for device in ("cpu", "cuda"):
        maps = random(2, channels, HEIGHT, WIDTH).to(device).requires_grad_()
        pooled = layer(maps, REGIONS.to(device))
        results.append((pooled.cpu(), torch.autograd.grad(pooled.square().sum(), maps)[0].cpu()))
    torch.testing.assert_close(*results)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("channels", [1, 17])
def test_roi_align_without_regions_on_a_gpu(channels):
    maps = random(2, channels, HEIGHT, WIDTH).cuda().requires_grad_()
    for rois in (torch.zeros(0, 5), REGIONS[4:5]):
        pooled = mmcv.ops.RoIAlign((2, 3))(maps, rois.cuda())
        assert torch.autograd.grad(pooled.sum(), maps)[0].abs().max() == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_roi_align_under_autocast(dtype):
    maps = random(2, 16, HEIGHT, WIDTH).cuda().requires_grad_()
    with torch.autocast("cuda", dtype):
        features = torch.nn.Conv2d(16, 16, 1).cuda()(maps)
        pooled = mmcv.ops.RoIAlign((2, 3), 0.7)(features, REGIONS.cuda().to(features))
    pooled.sum().backward()
    assert pooled.dtype == dtype
    assert maps.grad.isfinite().all()


@pytest.mark.skipif(compiled_operators() is None, reason="mmcv's operators are not compiled here")
@pytest.mark.parametrize("channels", [1, 17])
@pytest.mark.parametrize(("ratio", "aligned"), SETTINGS)
def test_roi_align_as_compiled(channels, ratio, aligned):
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
