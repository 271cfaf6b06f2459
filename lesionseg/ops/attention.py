"""Multi-scale deformable attention (https://arxiv.org/abs/2010.04159) as one operator, forward and backward.

On CUDA it runs in kernels of `lesionseg.ops.attention_kernels`, elsewhere in plain PyTorch.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lesionseg.ops.kernels import kernels_for
from lesionseg.ops.limits import MOST_ELEMENTS, at_least_float32, parts


@torch.library.custom_op("lesionseg::deformable_attention", mutates_args=())
def deformable_attention(value: Tensor, sizes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    """Sum up what lies at some points of several maps, for each query and head.

    Inputs of less than float32 are computed in float32.

    Args:
        value: (B, cells of all levels, heads, channels per head) float, level after level, row after row.
        sizes: height and width of the first level, of the second, and so on.
        locations: (B, queries, heads, levels, points, 2), x y; 0 to 1 spans the level, and beyond it lie zeros.
        weights: (B, queries, heads, levels, points).

    Returns:
        (B, queries, heads * channels per head), of the value's dtype.
    """
    kernels = kernels_for(value, "attention")
    if kernels is not None:
        return kernels.attend(value, tuple(sizes), locations, weights)
    return _attend(value, sizes, locations, weights)


@torch.library.custom_op("lesionseg::deformable_attention_backward", mutates_args=())
def deformable_attention_backward(
    gradient: Tensor, value: Tensor, sizes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of value, locations and weights, from that of the output; see `deformable_attention`."""
    kernels = kernels_for(value, "attention")
    if kernels is not None:
        return kernels.attend_backward(gradient, value, tuple(sizes), locations, weights)
    return _attend_backward(gradient, value, sizes, locations, weights)


@deformable_attention.register_fake
def _(value: Tensor, sizes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty(value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])


@deformable_attention_backward.register_fake
def _(
    gradient: Tensor, value: Tensor, sizes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return value.new_empty(value.shape), locations.new_empty(locations.shape), weights.new_empty(weights.shape)


def _keep(ctx: Any, inputs: tuple, output: Tensor) -> None:
    value, ctx.sizes, locations, weights = inputs
    ctx.save_for_backward(value, locations, weights)


def _derive(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
    value, locations, weights = ctx.saved_tensors
    of_value, of_locations, of_weights = deformable_attention_backward(gradient, value, ctx.sizes, locations, weights)
    return of_value, None, of_locations, of_weights


deformable_attention.register_autograd(_derive, setup_context=_keep)


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """`deformable_attention` as mmcv calls it.

    Args:
        value: (B, cells of all levels, heads, channels per head) float.
        value_spatial_shapes: (levels, 2) int64, height and width of each level.
        value_level_start_index: Not used: levels lie one after the other.
        sampling_locations: (B, queries, heads, levels, points, 2).
        attention_weights: (B, queries, heads, levels, points).
        im2col_step: Not used: it bounds the compiled operator's memory.

    Returns:
        (B, queries, heads * channels per head), of the value's dtype.
    """
    sizes = value_spatial_shapes.flatten().tolist()
    return deformable_attention(value, sizes, sampling_locations, attention_weights)


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

    Arguments as in `ms_deform_attn_forward`.
    """
    sizes = value_spatial_shapes.flatten().tolist()
    found = deformable_attention_backward(grad_output, value, sizes, sampling_locations, attention_weights)
    for total, gradient in zip((grad_value, grad_sampling_loc, grad_attn_weight), found, strict=True):
        total += gradient


def _attend(value: Tensor, sizes: list[int], locations: Tensor, weights: Tensor) -> Tensor:
    images, queries, heads, _, channels = *weights.shape[:4], value.shape[3]
    output = at_least_float32(value).new_zeros(images * heads, channels, queries)
    for level, part, _, rows, maps, grid in _levels(value, sizes, locations):
        sampled = F.grid_sample(maps, grid, align_corners=False)
        output[rows] += (sampled * _by_map(weights[part, :, :, level])[:, None]).sum(2)
    # Not a view: what an operator gives out lies as it says.
    return output.view(images, heads * channels, queries).transpose(1, 2).to(value.dtype).contiguous()


def _attend_backward(
    gradient: Tensor, value: Tensor, sizes: list[int], locations: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    # Autograd sees nothing of what happens in an operator. Samples are taken again, so that they need not be kept.
    heads, channels = value.shape[2:]
    of_value, of_locations, of_weights = (torch.empty_like(each) for each in (value, locations, weights))
    by_map = at_least_float32(gradient).transpose(1, 2).reshape(-1, channels, 1, gradient.shape[1])
    for level, part, cells, rows, maps, grid in _levels(value, sizes, locations):
        sampled = F.grid_sample(maps, grid, align_corners=False)
        of_weights[part, :, :, level] = _by_query((sampled * by_map[rows]).sum(1), heads)
        of_samples = by_map[rows] * _by_map(weights[part, :, :, level])[:, None]
        # Bilinear, zeros beyond the border, and corners not aligned, as F.grid_sample does it.
        of_maps, of_grid = torch.ops.aten.grid_sampler_2d_backward(of_samples, maps, grid, 0, 0, False, [True, True])
        of_value[part, cells] = of_maps.view(-1, heads, channels, maps[0, 0].numel()).permute(0, 3, 1, 2)
        of_locations[part, :, :, level] = _by_query(2 * of_grid, heads)
    return of_value, of_locations, of_weights


def _levels(
    value: Tensor, sizes: list[int], locations: Tensor
) -> Iterator[tuple[int, slice, slice, slice, Tensor, Tensor]]:
    """Take the levels one by one, of all images at once or of fewer to save memory.

    Yields:
        level; its images; its cells; the maps of these images among all (image, head); these maps (N, C, H, W); where
        they are sampled, (N, points, queries, 2), -1 to 1 over the map.
    """
    images, queries, heads, _, points = locations.shape[:5]
    start = 0
    for level, (height, width) in enumerate(zip(sizes[::2], sizes[1::2], strict=True)):
        cells = slice(start, start := start + height * width)
        for part in parts([queries * heads * points * value.shape[3]] * images, MOST_ELEMENTS):
            maps = at_least_float32(value[part, cells]).permute(0, 2, 3, 1).reshape(-1, value.shape[3], height, width)
            grid = 2 * _by_map(at_least_float32(locations[part, :, :, level])) - 1
            yield level, part, cells, slice(part.start * heads, part.stop * heads), maps, grid


def _by_map(tensor: Tensor) -> Tensor:
    """(images, queries, heads, points, ...) -> (images x heads, points, queries, ...), the queries side by side."""
    return tensor.movedim(1, 3).flatten(0, 1)


def _by_query(tensor: Tensor, heads: int) -> Tensor:
    """What `_by_map` has made, back."""
    return tensor.unflatten(0, (-1, heads)).movedim(3, 1)
