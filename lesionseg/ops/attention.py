"""Multi-scale deformable attention, forward and backward."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lesionseg.ops.limits import MOST_ELEMENTS, at_least_float32, parts


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Multi-scale deformable attention (https://arxiv.org/abs/2010.04159).

    Args:
        value: (B, cells of all levels, heads, channels per head) float.
        value_spatial_shapes: (levels, 2) int64, height and width of each level.
        value_level_start_index: (levels,) int64, each level's first cell.
        sampling_locations: (B, queries, heads, levels, points, 2), x y; 0 to 1 spans the level.
        attention_weights: (B, queries, heads, levels, points).
        im2col_step: Not used: it bounds the compiled operator's memory.

    Returns:
        (B, queries, heads * channels per head), of the value's dtype.
    """
    batch, queries = sampling_locations.shape[:2]
    output = at_least_float32(value).new_zeros(batch, queries, value.shape[2] * value.shape[3])
    for level, part, cells, size in _levels(value, value_spatial_shapes, value_level_start_index, sampling_locations):
        output[part] += _attend_level(
            at_least_float32(value[part, cells]),
            at_least_float32(sampling_locations[part, :, :, level]),
            at_least_float32(attention_weights[part, :, :, level]),
            size,
        )
    return output.to(value)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Add to the three `grad_...` what `grad_output` (B, queries, heads * channels per head) says of the inputs.

    Levels are recomputed one by one, so that only one level's samples are in memory.
    Arguments as in `ms_deform_attn_forward`.
    """
    for level, part, cells, size in _levels(value, value_spatial_shapes, value_level_start_index, sampling_locations):
        sliced = (value[part, cells], sampling_locations[part, :, :, level], attention_weights[part, :, :, level])
        inputs = [at_least_float32(tensor).detach().requires_grad_() for tensor in sliced]
        with torch.enable_grad():
            output = _attend_level(inputs[0], inputs[1], inputs[2], size)
        grads = torch.autograd.grad(output, inputs, grad_output[part].to(output))
        grad_value[part, cells] += grads[0]
        grad_sampling_loc[part, :, :, level] += grads[1]
        grad_attn_weight[part, :, :, level] += grads[2]


def _levels(
    value: Tensor, shapes: Tensor, starts: Tensor, locations: Tensor
) -> Iterator[tuple[int, slice, slice, tuple[int, int]]]:
    """Yield level, images, cells of the level and its (height, width): all images at once, or fewer to save memory."""
    batch, queries, heads, _, points = locations.shape[:5]
    for level, ((height, width), start) in enumerate(zip(shapes.tolist(), starts.tolist(), strict=True)):
        for part in parts([queries * heads * points * value.shape[3]] * batch, MOST_ELEMENTS):
            yield level, part, slice(start, start + height * width), (height, width)


def _attend_level(value: Tensor, locations: Tensor, weights: Tensor, size: tuple[int, int]) -> Tensor:
    """One level's share of the output (B, Q, heads * C).

    `value` is (B, H * W, heads, C), `locations` (B, Q, heads, P, 2), `weights` (B, Q, heads, P), `size` (H, W).
    """
    batch, _, heads, channels = value.shape
    maps = value.permute(0, 2, 3, 1).reshape(batch * heads, channels, *size)
    grid = (2 * locations - 1).transpose(1, 2).flatten(0, 1)
    sampled = F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    summed = (sampled * weights.transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
    return summed.view(batch, heads * channels, -1).transpose(1, 2)
