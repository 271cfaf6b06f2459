"""Multi-scale deformable attention on CUDA, in one kernel forward and one backward; see `lesionseg.ops.attention`.

Needs Triton. Each program takes a block of rows, a row being a query and a head of an image, and all channels of the
head. Sums are float32, whatever the inputs are.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lesionseg.ops.kept import constant

# Rows of a program.
_FORWARD, _BACKWARD = 32, 16


def attend(value: Tensor, sizes: tuple[int, ...], locations: Tensor, weights: Tensor) -> Tensor:
    """See `lesionseg.ops.attention.deformable_attention`; nothing of float64."""
    value, locations, weights = value.contiguous(), locations.contiguous(), weights.contiguous()
    images, queries, heads = weights.shape[:3]
    output = value.new_empty(images, queries, heads * value.shape[3])
    grid, shape = _launch(value, weights, _FORWARD)
    _attend[grid](value, constant(sizes, value.device, torch.int32), locations, weights, output, **shape)
    return output


def attend_backward(
    gradient: Tensor, value: Tensor, sizes: tuple[int, ...], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """See `lesionseg.ops.attention.deformable_attention_backward`; nothing of float64.

    Rows add to the value's gradient in no fixed order: its last digits differ from run to run.
    """
    gradient, value = gradient.contiguous(), value.contiguous()
    locations, weights = locations.contiguous(), weights.contiguous()
    of_value = torch.zeros_like(value, dtype=torch.float32)
    of_locations, of_weights = torch.empty_like(locations), torch.empty_like(weights)
    grid, shape = _launch(value, weights, _BACKWARD)
    inputs = (gradient, value, constant(sizes, value.device, torch.int32), locations, weights)
    _attend_backward[grid](*inputs, of_value, of_locations, of_weights, **shape)
    return of_value.to(value.dtype), of_locations, of_weights


def _launch(value: Tensor, weights: Tensor, block: int) -> tuple[tuple[int], dict[str, Any]]:
    """The number of programs, and what kernels are told of the inputs' shapes."""
    images, queries, heads, levels, points = weights.shape
    channels = value.shape[3]
    rows = images * queries * heads
    shape = dict(rows=rows, queries=queries, cells=value.shape[1])
    fixed = dict(HEADS=heads, CHANNELS=channels, LEVELS=levels, POINTS=points)
    return (triton.cdiv(rows, block),), dict(shape, **fixed, BLOCK=block, WIDTH=triton.next_power_of_2(channels))


@triton.jit
def _place(locations, weights, row, inside, width, height, index, COUNT: tl.constexpr):  # noqa: N803
    """Where a point of each row lies among the cells, its corner to the upper left and the rest, and its weight."""
    place = row * COUNT + index
    x = tl.load(locations + 2 * place, mask=inside, other=0.0).to(tl.float32) * width - 0.5
    y = tl.load(locations + 2 * place + 1, mask=inside, other=0.0).to(tl.float32) * height - 0.5
    # Far outside there is nothing, and larger numbers have no place in an integer.
    x = tl.minimum(tl.maximum(x, -2.0), width + 1.0)
    y = tl.minimum(tl.maximum(y, -2.0), height + 1.0)
    left, top = tl.floor(x), tl.floor(y)
    weight = tl.load(weights + place, mask=inside, other=0.0).to(tl.float32)
    return left.to(tl.int32), top.to(tl.int32), x - left, y - top, weight


@triton.jit
def _attend(
    value, sizes, locations, weights, output, rows, queries, cells,
    HEADS: tl.constexpr, CHANNELS: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,  # noqa: N803
):  # fmt: skip
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    inside = row < rows
    channel = tl.arange(0, WIDTH)
    real = channel < CHANNELS
    # Of the image's first cell.
    first = (row // (HEADS * queries) * cells * HEADS + row % HEADS) * CHANNELS
    total = tl.zeros((BLOCK, WIDTH), tl.float32)
    start = 0
    for level in tl.static_range(LEVELS):
        height, width = tl.load(sizes + 2 * level), tl.load(sizes + 2 * level + 1)
        for point in range(POINTS):
            left, top, right_share, low_share, weight = _place(
                locations, weights, row, inside, width, height, level * POINTS + point, LEVELS * POINTS
            )
            for low in tl.static_range(2):
                for right in tl.static_range(2):
                    column, line = left + right, top + low
                    there = inside & (column >= 0) & (column < width) & (line >= 0) & (line < height)
                    share = right_share if right else 1 - right_share
                    share *= low_share if low else 1 - low_share
                    cell = first + (start + line * width + column).to(tl.int64) * (HEADS * CHANNELS)
                    found = tl.load(
                        value + cell[:, None] + channel[None, :], mask=there[:, None] & real[None, :], other=0.0
                    )
                    total += (share * weight)[:, None] * found.to(tl.float32)
        start += height * width
    tl.store(
        output + row[:, None] * CHANNELS + channel[None, :],
        total.to(output.dtype.element_ty),
        mask=inside[:, None] & real[None, :],
    )


@triton.jit
def _attend_backward(
    gradient, value, sizes, locations, weights, of_value, of_locations, of_weights, rows, queries, cells,
    HEADS: tl.constexpr, CHANNELS: tl.constexpr, LEVELS: tl.constexpr, POINTS: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr, WIDTH: tl.constexpr,  # noqa: N803
):  # fmt: skip
    row = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)).to(tl.int64)
    inside = row < rows
    channel = tl.arange(0, WIDTH)
    real = channel < CHANNELS
    first = (row // (HEADS * queries) * cells * HEADS + row % HEADS) * CHANNELS
    pull = tl.load(
        gradient + row[:, None] * CHANNELS + channel[None, :], mask=inside[:, None] & real[None, :], other=0.0
    ).to(tl.float32)
    start = 0
    for level in tl.static_range(LEVELS):
        height, width = tl.load(sizes + 2 * level), tl.load(sizes + 2 * level + 1)
        for point in range(POINTS):
            index = level * POINTS + point
            left, top, right_share, low_share, weight = _place(
                locations, weights, row, inside, width, height, index, LEVELS * POINTS
            )
            of_weight = tl.zeros((BLOCK,), tl.float32)
            of_x = tl.zeros((BLOCK,), tl.float32)
            of_y = tl.zeros((BLOCK,), tl.float32)
            for low in tl.static_range(2):
                for right in tl.static_range(2):
                    column, line = left + right, top + low
                    there = inside & (column >= 0) & (column < width) & (line >= 0) & (line < height)
                    across = right_share if right else 1 - right_share
                    down = low_share if low else 1 - low_share
                    cell = first + (start + line * width + column).to(tl.int64) * (HEADS * CHANNELS)
                    place = cell[:, None] + channel[None, :]
                    kept = there[:, None] & real[None, :]
                    found = tl.load(value + place, mask=kept, other=0.0).to(tl.float32)
                    along = tl.sum(pull * found, 1)
                    of_weight += across * down * along
                    of_x += down * along if right else -down * along
                    of_y += across * along if low else -across * along
                    # Rows of all programs meet in a cell.
                    tl.atomic_add(of_value + place, (across * down * weight)[:, None] * pull, mask=kept, sem="relaxed")
            slot = row * (LEVELS * POINTS) + index
            tl.store(of_weights + slot, of_weight.to(of_weights.dtype.element_ty), mask=inside)
            of_x *= weight * width
            of_y *= weight * height
            tl.store(of_locations + 2 * slot, of_x.to(of_locations.dtype.element_ty), mask=inside)
            tl.store(of_locations + 2 * slot + 1, of_y.to(of_locations.dtype.element_ty), mask=inside)
        start += height * width
