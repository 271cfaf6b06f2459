"""Boxes, x1 y1 x2 y2 in pixels: how far they overlap, and what leads from one to another.

The results are those of MMDetection's `bbox_overlaps` and `DeltaXYWHBBoxCoder`, which wait for a GPU whenever they copy
their constants there.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lesionseg.ops.kept import constant

# Boxes grow or shrink to at most that, as in MMDetection.
_LARGEST_RATIO = 1000 / 16
_SMALLEST_UNION = 1e-6


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """IoU of each with each.

    Args:
        first: (..., N, 4) float.
        second: (..., M, 4) float.

    Returns:
        (..., N, M); of two boxes without an area 0.
    """
    first_areas, second_areas = ((each[..., 2:] - each[..., :2]).prod(-1) for each in (first, second))
    first, second = first[..., :, None, :], second[..., None, :, :]
    start, end = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    width, height = (end - start).clamp(min=0).unbind(-1)
    common = width * height
    return common / (first_areas[..., :, None] + second_areas[..., None, :] - common).clamp(min=_SMALLEST_UNION)


def encode(boxes: Tensor, targets: Tensor, means: Sequence[float], stds: Sequence[float]) -> Tensor:
    """What leads from boxes to their targets.

    Args:
        boxes: (..., 4) float.
        targets: (..., 4) float.
        means: four numbers, which are subtracted from moves along x and y, and growths of width and height.
        stds: four numbers, by which they are divided then.

    Returns:
        (..., 4) float32; not finite where a box or its target has no area.
    """
    centers, sizes = _center_and_size(boxes.float())
    target_centers, target_sizes = _center_and_size(targets.float())
    deltas = torch.cat([(target_centers - centers) / sizes, (target_sizes / sizes).log()], -1)
    return (deltas - constant(tuple(means), deltas.device)) / constant(tuple(stds), deltas.device)


def decode(boxes: Tensor, deltas: Tensor, means: Sequence[float], stds: Sequence[float]) -> Tensor:
    """Where `deltas` (..., 4) lead from `boxes` (..., 4); `encode` the other way round."""
    deltas = deltas * constant(tuple(stds), deltas.device) + constant(tuple(means), deltas.device)
    centers, sizes = _center_and_size(boxes)
    most = math.log(_LARGEST_RATIO)
    centers, sizes = centers + sizes * deltas[..., :2], sizes * deltas[..., 2:].clamp(-most, most).exp()
    return torch.cat([centers - 0.5 * sizes, centers + 0.5 * sizes], -1)


def _center_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    start, end = boxes[..., :2], boxes[..., 2:]
    return (start + end) * 0.5, end - start
