"""RoIAlign, forward and backward."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lesionseg.errors import DataError
from lesionseg.ops.limits import MOST_ELEMENTS, at_least_float32, only_compiled, parts

# Below this many channels, a region is cheaper to pool by dense matrix products than cell by cell.
FEW_CHANNELS = 8
# Bound on temporary memory: weighted cells, of about 100 bytes each.
MOST_CELLS = 2**21


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
        rois: (N, 5) float, index of the map, then x1 y1 x2 y2 in pixels of the image.
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
    image, rows, columns = _region_weights(
        rois.to(maps), maps.shape[2:], (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned
    )
    if maps.shape[1] < FEW_CHANNELS:
        for part in parts([maps[0].numel()] * len(rois), MOST_ELEMENTS):
            output[part] = _two_sided_product(rows[part], maps[image[part]], columns[part].mT)
        return
    table = maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]).contiguous()
    for part, cells, weights, _, starts in _weighted_cells(image, rows, columns):
        pooled = F.embedding_bag(cells, table, starts, per_sample_weights=weights, mode="sum")
        output[part] = pooled.view(-1, aligned_height, aligned_width, maps.shape[1]).permute(0, 3, 1, 2)


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

    Average pooling is a linear map of the input, so this is its transpose. Arguments as in `roi_align_forward`.
    """
    _refuse_max_pooling("roi_align_backward", pool_mode)
    if not grad_output.numel():
        return
    grads = at_least_float32(grad_output)
    batch, channels, height, width = grad_input.shape
    image, rows, columns = _region_weights(
        rois.to(grads), (height, width), (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned
    )
    if channels < FEW_CHANNELS:
        total = grads.new_zeros(grad_input.shape)
        for part in parts([total[0].numel()] * len(rois), MOST_ELEMENTS):
            total.index_add_(0, image[part], _two_sided_product(rows[part].mT, grads[part], columns[part]))
    else:
        table = grads.new_zeros(batch * height * width, channels)
        every_cell = torch.arange(len(table), device=table.device)
        for part, cells, weights, bins, _ in _weighted_cells(image, rows, columns):
            cells, order = cells.sort()
            by_bin = grads[part].permute(0, 2, 3, 1).reshape(-1, channels)
            starts = torch.searchsorted(cells, every_cell)
            table += F.embedding_bag(bins[order], by_bin, starts, per_sample_weights=weights[order], mode="sum")
        total = table.view(batch, height, width, channels).permute(0, 3, 1, 2)
    grad_input.add_(total)


def _region_weights(
    rois: Tensor,
    map_size: Sequence[int],
    bins: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """What each bin of each region averages: map index (N,), row weights (N, bins_y, H), column weights (N, bins_x, W).

    Bilinear interpolation and averaging go one axis after the other, so a cell's weight is row weight x column weight.
    """
    corners = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    start, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1)
    rows = _axis_weights(start[:, 1], extent[:, 1], bins[0], sampling_ratio, map_size[0])
    columns = _axis_weights(start[:, 0], extent[:, 0], bins[1], sampling_ratio, map_size[1])
    return rois[:, 0].long(), rows, columns


def _axis_weights(start: Tensor, extent: Tensor, bins: int, sampling_ratio: int, length: int) -> Tensor:
    """Weights (N, bins, length) of an axis' cells in the bins of regions from `start` (N,), `extent` (N,) cells long.

    Samples up to one cell outside take the border's value; those further out, or nowhere, count as zero.
    """
    if sampling_ratio > 0:
        samples = torch.full_like(extent, sampling_ratio)
    else:
        samples = (extent / bins).ceil().nan_to_num(0, 0, 0).clamp(min=0)
    start, size, samples = (values[:, None, None] for values in (start, extent / bins, samples))
    bin_index = torch.arange(bins, device=start.device)[:, None]
    index = torch.arange(int(samples.max()), device=start.device)
    position = start + bin_index * size + (index + 0.5) * size / samples.clamp(min=1)
    counts = (index < samples) & (position >= -1) & (position <= length)
    weight = counts / samples.clamp(min=1)
    position = position.nan_to_num(0).clamp(0, length - 1)
    low = position.floor()
    above = position - low
    # One cell too many takes the zero weight above the last cell.
    weights = start.new_zeros(len(start), bins, length + 1)
    weights.scatter_add_(2, low.long(), (1 - above) * weight)
    weights.scatter_add_(2, low.long() + 1, above * weight)
    return weights[..., :length]


def _weighted_cells(
    image: Tensor, rows: Tensor, columns: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor, Tensor]]:
    """List the cells that the bins average, some regions at a time, as a sparse matrix (bins, cells of all maps).

    Yields:
        The regions as a slice; of each entry the cell, the weight and the bin, all (E,); and (bins,) each bin's first
        entry. Cells count through (map, row, column), bins through (region, bin_y, bin_x).
    """
    (bins_y, height), (bins_x, width) = rows.shape[1:], columns.shape[1:]
    first_row, row_count = _support(rows)
    first_column, column_count = _support(columns)
    counts = row_count[:, :, None] * column_count[:, None, :]
    for part in parts(counts.flatten(1).sum(1).tolist(), MOST_CELLS):
        count = counts[part].flatten()
        starts = count.cumsum(0) - count
        bins = torch.repeat_interleave(count)
        rank = torch.arange(len(bins), device=bins.device) - starts[bins]
        row_bin = bins // bins_x
        region = row_bin // bins_y
        column_bin = region * bins_x + bins % bins_x
        columns_here = column_count[part].flatten()[column_bin]
        row = first_row[part].flatten()[row_bin] + rank // columns_here
        column = first_column[part].flatten()[column_bin] + rank % columns_here
        weights = rows[part].flatten(0, 1)[row_bin, row] * columns[part].flatten(0, 1)[column_bin, column]
        yield part, (image[part][region] * height + row) * width + column, weights, bins, starts


def _support(weights: Tensor) -> tuple[Tensor, Tensor]:
    """First non-zero weight along the last axis, and how many cells from there to the last non-zero one."""
    index = torch.arange(weights.shape[-1], device=weights.device)
    used = weights != 0
    first = torch.where(used, index, weights.shape[-1]).amin(-1)
    last = torch.where(used, index, -1).amax(-1)
    return first, (last - first + 1).clamp(min=0)


def _two_sided_product(left: Tensor, maps: Tensor, right: Tensor) -> Tensor:
    """Matrix product left (N, P, H) @ maps (N, C, H, W) @ right (N, W, Q), never in half precision: (N, C, P, Q)."""
    with torch.autocast(maps.device.type, enabled=False):
        return left[:, None] @ maps @ right[:, None]


def _refuse_max_pooling(name: str, pool_mode: int) -> None:
    if pool_mode != 1:
        raise DataError(only_compiled(f"{name} with pool_mode='max'"))
