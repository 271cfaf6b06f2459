"""RoIAlign, forward and backward."""

from collections.abc import Sequence

import torch
from torch import Tensor

import lesionseg.ops.kernels  # noqa: F401  It loads torch.ops.torchvision.
from lesionseg.errors import DataError
from lesionseg.ops.limits import at_least_float32, only_compiled

# How far outside the map a region may reach, in cells. Samples there are zero, but each costs memory and time.
REACH = 256


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (https://arxiv.org/abs/1703.06870) by average pooling.

    Args:
        input: (B, C, H, W) float, feature maps.
        rois: (N, 5) float, index of the map, then x1 y1 x2 y2 in pixels of the image. One that is not finite is zero;
            one that reaches more than 256 cells outside the map ends there.
        output: (N, C, aligned_height, aligned_width), written.
        argmax_y: Not used: it serves max pooling.
        argmax_x: Not used.
        aligned_height: Bins along y.
        aligned_width: Bins along x.
        spatial_scale: Cells of the map per pixel of the image.
        sampling_ratio: Samples per bin and axis; 0 takes one per cell.
        pool_mode: 1, average. Max pooling (0) is not served.
        aligned: Whether cell centres lie at half cells; if not, regions are at least one cell wide and high.

    Raises:
        DataError: For max pooling.
    """
    _refuse_max_pooling("roi_align_forward", pool_mode)
    if not output.numel():
        return
    maps = at_least_float32(input)
    regions = within_reach(rois.to(maps), maps.shape[2:], spatial_scale, sampling_ratio)
    size = (aligned_height, aligned_width)
    output.copy_(torch.ops.torchvision.roi_align(maps, regions, spatial_scale, *size, sampling_ratio, aligned))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Add to `grad_input` (B, C, H, W) what `grad_output` (N, C, aligned_height, aligned_width) says of the input.

    Arguments as in `roi_align_forward`.
    """
    _refuse_max_pooling("roi_align_backward", pool_mode)
    if not grad_output.numel():
        return
    grads = at_least_float32(grad_output)
    regions = within_reach(rois.to(grads), grad_input.shape[2:], spatial_scale, sampling_ratio)
    # torchvision's own autograd calls this one.
    transpose = torch.ops.torchvision._roi_align_backward
    size = (aligned_height, aligned_width)
    grad_input.add_(transpose(grads, regions, spatial_scale, *size, *grad_input.shape, sampling_ratio, aligned))


def within_reach(rois: Tensor, map_size: Sequence[int], spatial_scale: float, sampling_ratio: int) -> Tensor:
    """Regions (N, 5) that can be sampled: finite and near a map of height and width `map_size`.

    On a CPU the samples of huge regions would fill the memory, and torchvision fails at inverted ones where the size
    gives the number of samples; they have none then, like the empty ones that they become.
    """
    index, corners = rois[:, :1], rois[:, 1:]
    near, far = -REACH / spatial_scale, (max(map_size) + REACH) / spatial_scale
    # Of an undefined region, all corners become one that is outside.
    inside = torch.where(corners.isfinite().all(1, keepdim=True), corners, near).clamp(near, far)
    start, end = inside[:, :2], inside[:, 2:]
    if sampling_ratio <= 0:
        end = torch.maximum(start, end)
    return torch.cat([index, start, end], 1)


def _refuse_max_pooling(name: str, pool_mode: int) -> None:
    if pool_mode != 1:
        raise DataError(only_compiled(f"{name} with pool_mode='max'"))
