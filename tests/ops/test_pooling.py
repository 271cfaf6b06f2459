"""RoIAlign from several maps at once against torchvision's from each."""

import lesionseg  # noqa: F401  # isort: skip  It has to come before mmcv.ops, which then finds its operators.
import pytest
import torch
from kernel_checks import compile_for_a_gpu, run_interpreted
from torchvision.ops import roi_align

INTERPRETED = """
import torch
from torch.testing import assert_close
from torchvision.ops import roi_align
import lesionseg.ops.pooling_kernels as kernels
from lesionseg.ops.regions import within_reach

torch.manual_seed(0)
# 2 images of 64 x 80 pixels; 12 regions, some of them partly outside.
maps = [torch.randn(2, 6, 64 // stride, 80 // stride, requires_grad=True) for stride in (4, 8, 16)]
start = 70 * torch.rand(12, 2) - 5
rois = torch.cat([torch.randint(2, (12, 1)), start, start + 1 + 40 * torch.rand(12, 2)], 1)
# One without an area, an inverted, an undefined, a huge one, and one that is far away.
rois[3, 1:], rois[4, 1:], rois[5, 3] = 0, rois[4, [3, 4, 1, 2]], torch.nan
rois[8, 1:], rois[7, 1:] = torch.tensor([-1e6, 20, 1e6, 30]), 1e7
levels = torch.arange(12) % 3
found = kernels.pool(maps, rois, levels, (4, 8, 16), (3, 2))
expected = torch.zeros_like(found)
reached = within_reach(rois, (16, 20), 1 / 4, 0)
for level, (each, stride) in enumerate(zip(maps, (4, 8, 16))):
    own = levels == level
    expected[own] = roi_align(each, reached[own], (3, 2), 1 / stride, 0, True)
assert_close(found, expected)
gradient = torch.randn_like(found)
assert_close(torch.autograd.grad(found, maps, gradient), torch.autograd.grad(expected, maps, gradient))
assert kernels.pool(maps, rois[:0], levels[:0], (4, 8, 16), (3, 2)).shape == (0, 6, 3, 2)
"""


def test_the_kernels_pool_as_torchvision_does():
    run_interpreted(INTERPRETED)


def test_kernels_compile_for_a_gpu_that_is_not_there(tmp_path):
    types = dict(value="*fp16", output="*fp16", gradient="*fp16", of_cells="*fp32")
    types.update(table="*i32", rois="*fp32", levels="*i64")
    fixed = dict(CHANNELS=256, BLOCK=256, HEIGHT=7, WIDTH=7)
    compile_for_a_gpu("pooling", ["_pool", "_pool_backward"], types, fixed, tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_kernels_on_a_gpu(dtype):
    import lesionseg.ops.pooling_kernels as kernels

    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 256, 128 // n, 160 // n, generator=generator) for n in (1, 2, 4, 8)]
    maps = [each.to("cuda", dtype, memory_format=torch.channels_last).requires_grad_() for each in maps]
    start = 400 * torch.rand(300, 2, generator=generator)
    size = 4 + 300 * torch.rand(300, 2, generator=generator)
    rois = torch.cat([torch.randint(2, (300, 1), generator=generator), start, start + size], 1).cuda()
    levels = torch.randint(4, (300,), generator=generator).cuda()
    found = kernels.pool(maps, rois, levels, (4, 8, 16, 32), (7, 7))
    expected = torch.zeros_like(found, dtype=torch.float32)
    for level, each in enumerate(maps):
        own = levels == level
        expected[own] = roi_align(each.float(), rois[own], (7, 7), 1 / (4 << level), 0, True)
    # A place on a map has few digits after its point.
    tolerance = 1e-4 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)
    gradient = torch.randn(found.shape, generator=generator).cuda()
    ours = torch.autograd.grad(found, maps, gradient.to(dtype))
    others = torch.autograd.grad(expected, maps, gradient.to(dtype).float())
    torch.testing.assert_close(ours, others, rtol=10 * tolerance, atol=10 * tolerance)
