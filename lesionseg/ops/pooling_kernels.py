"""RoIAlign from several maps at once on CUDA, in one kernel forward and one backward. Needs Triton.

Each program takes a bin of a region, and all channels of it. Sums are float32, whatever the maps are.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lesionseg.ops.kept import constant
from lesionseg.ops.regions import within_reach


def pool(maps: Sequence[Tensor], rois: Tensor, levels: Tensor, strides: Sequence[int], size: tuple[int, int]) -> Tensor:
    """Pool each region from the map of its level, as `lesionseg.ops.regions.roi_align_forward`, aligned.

    Args:
        maps: (B, C, H, W) each, of one dtype.
        rois: (N, 5) float32, index of the image, then x1 y1 x2 y2 in its pixels; see `within_reach`.
        levels: (N,) int64, the places of the regions' maps.
        strides: pixels of the image per cell of each map, of the finest one first.
        size: bins along y and along x; a bin has a sample per cell.

    Returns:
        (N, C, *size) of the maps' dtype, the channels side by side in memory.
    """
    cells = torch.cat([each.permute(0, 2, 3, 1).flatten(1, 2) for each in maps], 1)
    sizes = tuple((*each.shape[2:], stride) for each, stride in zip(maps, strides, strict=True))
    rois = within_reach(rois, maps[0].shape[2:], 1 / strides[0], sampling_ratio=0)
    pooled: Tensor = _Pool.apply(cells, sizes, rois, levels, size)
    return pooled.permute(0, 3, 1, 2)


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cells: Tensor, sizes: tuple, rois: Tensor, levels: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(rois, levels)
        ctx.sizes, ctx.shape, ctx.dtype = sizes, cells.shape, cells.dtype
        output = cells.new_empty(len(rois), *size, cells.shape[2])
        if output.numel():
            _pool[_grid(output)](cells, _table(sizes, cells.device), rois, levels, output, **_shape(cells.shape, size))
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rois, levels = ctx.saved_tensors
        gradient = gradient.contiguous()
        # Bins add to it in no fixed order: its last digits differ from run to run.
        of_cells = torch.zeros(ctx.shape, dtype=torch.float32, device=gradient.device)
        if gradient.numel():
            inputs = (gradient, _table(ctx.sizes, gradient.device), rois, levels, of_cells)
            _pool_backward[_grid(gradient)](*inputs, **_shape(ctx.shape, gradient.shape[1:3]))
        return of_cells.to(ctx.dtype), None, None, None, None


def _grid(bins: Tensor) -> tuple[int]:
    return (bins.shape[0] * bins.shape[1] * bins.shape[2],)


def _shape(shape: Sequence[int], size: Sequence[int]) -> dict[str, int]:
    """What kernels are told of cells of a shape and of the number of bins."""
    _, cells, channels = shape
    fixed = dict(CHANNELS=channels, BLOCK=triton.next_power_of_2(channels), HEIGHT=size[0], WIDTH=size[1])
    return dict(cells=cells, **fixed, num_warps=1)


def _table(sizes: tuple[tuple[int, int, int], ...], device: torch.device) -> Tensor:
    """Height, width, stride and first cell of each level, where kernels read them."""
    first = 0
    rows = []
    for height, width, stride in sizes:
        rows.append((height, width, stride, first))
        first += height * width
    return constant(tuple(rows), device, torch.int32)


@triton.jit
def _bin(table, rois, levels, cells, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):  # noqa: N803
    """This program's bin: the first cell of its map, the map's size, corner and size of the bin, samples each way."""
    place = tl.program_id(0)
    region, row, column = place // (HEIGHT * WIDTH), place // WIDTH % HEIGHT, place % WIDTH
    level = table + 4 * tl.load(levels + region)
    height, width = tl.load(level), tl.load(level + 1)
    scale = 1.0 / tl.load(level + 2).to(tl.float32)
    roi = rois + 5 * region
    first = tl.load(roi).to(tl.int64) * cells + tl.load(level + 3)
    left, top = tl.load(roi + 1) * scale - 0.5, tl.load(roi + 2) * scale - 0.5
    bin_width = (tl.load(roi + 3) * scale - 0.5 - left) / WIDTH
    bin_height = (tl.load(roi + 4) * scale - 0.5 - top) / HEIGHT
    rows, columns = tl.ceil(bin_height).to(tl.int32), tl.ceil(bin_width).to(tl.int32)
    rows, columns = tl.maximum(rows, 0), tl.maximum(columns, 0)
    return first, height, width, top + row * bin_height, left + column * bin_width, bin_height, bin_width, rows, columns


@triton.jit
def _between(position, length):
    """The rows, or columns, before and after a sample, and their shares of it: none where it is outside the map."""
    inside = ((position >= -1.0) & (position <= length)).to(tl.float32)
    position = tl.minimum(tl.maximum(position, 0.0), length - 1.0)
    before = position.to(tl.int32)
    share = position - before
    return before, tl.minimum(before + 1, length - 1), (1 - share) * inside, share * inside


@triton.jit
def _corners(sample, height, width, top, left, bin_height, bin_width, rows, columns):
    """The four cells of the map around a sample of a bin, and their shares of it."""
    row, next_row, up, down = _between(top + (sample // columns + 0.5) * bin_height / rows, height)
    column, next_column, back, on = _between(left + (sample % columns + 0.5) * bin_width / columns, width)
    a, b = row * width + column, row * width + next_column
    c, d = next_row * width + column, next_row * width + next_column
    return a, b, c, d, up * back, up * on, down * back, down * on


@triton.jit
def _pool(
    value, table, rois, levels, output, cells,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,  # noqa: N803
):  # fmt: skip
    first, height, width, top, left, bin_height, bin_width, rows, columns = _bin(
        table, rois, levels, cells, HEIGHT, WIDTH
    )
    channels = tl.arange(0, BLOCK)
    there = channels < CHANNELS
    start = value + first * CHANNELS + channels
    total = tl.zeros([BLOCK], tl.float32)
    for sample in range(rows * columns):
        a, b, c, d, of_a, of_b, of_c, of_d = _corners(
            sample, height, width, top, left, bin_height, bin_width, rows, columns
        )
        total += of_a * tl.load(start + a * CHANNELS, mask=there, other=0.0).to(tl.float32)
        total += of_b * tl.load(start + b * CHANNELS, mask=there, other=0.0).to(tl.float32)
        total += of_c * tl.load(start + c * CHANNELS, mask=there, other=0.0).to(tl.float32)
        total += of_d * tl.load(start + d * CHANNELS, mask=there, other=0.0).to(tl.float32)
    total = total / tl.maximum(rows * columns, 1)
    place = tl.program_id(0).to(tl.int64) * CHANNELS + channels
    tl.store(output + place, total.to(output.dtype.element_ty), mask=there)


@triton.jit
def _pool_backward(
    gradient, table, rois, levels, of_cells, cells,
    CHANNELS: tl.constexpr, BLOCK: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,  # noqa: N803
):  # fmt: skip
    first, height, width, top, left, bin_height, bin_width, rows, columns = _bin(
        table, rois, levels, cells, HEIGHT, WIDTH
    )
    channels = tl.arange(0, BLOCK)
    there = channels < CHANNELS
    start = of_cells + first * CHANNELS + channels
    place = tl.program_id(0).to(tl.int64) * CHANNELS + channels
    share = tl.load(gradient + place, mask=there, other=0.0).to(tl.float32) / tl.maximum(rows * columns, 1)
    for sample in range(rows * columns):
        a, b, c, d, of_a, of_b, of_c, of_d = _corners(
            sample, height, width, top, left, bin_height, bin_width, rows, columns
        )
        tl.atomic_add(start + a * CHANNELS, of_a * share, mask=there, sem="relaxed")
        tl.atomic_add(start + b * CHANNELS, of_b * share, mask=there, sem="relaxed")
        tl.atomic_add(start + c * CHANNELS, of_c * share, mask=there, sem="relaxed")
        tl.atomic_add(start + d * CHANNELS, of_d * share, mask=there, sem="relaxed")
