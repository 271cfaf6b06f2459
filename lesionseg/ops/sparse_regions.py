"""RoIAlign of maps of many channels on a CPU, as a product with a sparse matrix.

torchvision walks over the channels one by one. Here a cell's channels lie side by side in memory and its weights are
added up first: with 64 channels, forward and backward together take a quarter to a half as long, with 256 a sixth to a
half.
The functions take what torchvision's take.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lesionseg.ops.limits import parts

# Bound on temporary memory: weighted cells, of about 100 bytes each.
MOST_CELLS = 2**21


def roi_align(
    maps: Tensor, regions: Tensor, spatial_scale: float, bins_y: int, bins_x: int, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Average of each bin of each region.

    Args:
        maps: (B, C, H, W) float.
        regions: (N, 5) float, index of the map, then x1 y1 x2 y2 in pixels of the image: finite, near the map and,
            where `sampling_ratio` is 0, not inverted.
        spatial_scale: cells of the map per pixel of the image.
        bins_y: of a region along y.
        bins_x: along x.
        sampling_ratio: samples per bin and axis; 0 takes one per cell.
        aligned: whether cell centres lie at half cells.

    Returns:
        (N, C, bins_y, bins_x) float.
    """
    channels = maps.shape[1]
    image, rows, columns = _region_weights(
        regions, maps.shape[2:], (bins_y, bins_x), spatial_scale, sampling_ratio, aligned
    )
    pooled = maps.new_empty(len(regions), channels, bins_y, bins_x)
    table = maps.permute(0, 2, 3, 1).reshape(-1, channels).contiguous()
    for part, cells, weights, _, starts in _weighted_cells(image, rows, columns):
        by_bin = F.embedding_bag(cells, table, starts, per_sample_weights=weights, mode="sum")
        pooled[part] = by_bin.view(-1, bins_y, bins_x, channels).permute(0, 3, 1, 2)
    return pooled


def roi_align_backward(
    grads: Tensor,
    regions: Tensor,
    spatial_scale: float,
    bins_y: int,
    bins_x: int,
    batch: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """What `grads` (N, C, bins_y, bins_x) says of the maps (B, C, H, W), by the transpose of the linear `roi_align`."""
    image, rows, columns = _region_weights(
        regions, (height, width), (bins_y, bins_x), spatial_scale, sampling_ratio, aligned
    )
    table = grads.new_zeros(batch * height * width, channels)
    every_cell = torch.arange(len(table), device=table.device)
    for part, cells, weights, bins, _ in _weighted_cells(image, rows, columns):
        cells, order = cells.sort()
        by_bin = grads[part].permute(0, 2, 3, 1).reshape(-1, channels)
        starts = torch.searchsorted(cells, every_cell)
        table += F.embedding_bag(bins[order], by_bin, starts, per_sample_weights=weights[order], mode="sum")
    return table.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _region_weights(
    regions: Tensor,
    map_size: Sequence[int],
    bins: tuple[int, int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """What each bin of each region averages: map index (N,), row weights (N, bins_y, H), column weights (N, bins_x, W).

    Bilinear interpolation and averaging go one axis after the other, so a cell's weight is row weight x column weight.
    """
    corners = regions[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    start, extent = corners[:, :2], corners[:, 2:] - corners[:, :2]
    if not aligned:
        extent = extent.clamp(min=1)
    rows = _axis_weights(start[:, 1], extent[:, 1], bins[0], sampling_ratio, map_size[0])
    columns = _axis_weights(start[:, 0], extent[:, 0], bins[1], sampling_ratio, map_size[1])
    return regions[:, 0].long(), rows, columns


def _axis_weights(start: Tensor, extent: Tensor, bins: int, sampling_ratio: int, length: int) -> Tensor:
    """Weights (N, bins, length) of an axis' cells in the bins of regions from `start` (N,), `extent` (N,) cells long.

    Samples up to one cell outside take the border's value; those further out count as zero.
    """
    samples = torch.full_like(extent, sampling_ratio) if sampling_ratio > 0 else (extent / bins).ceil()
    start, size, samples = (values[:, None, None] for values in (start, extent / bins, samples))
    bin_index = torch.arange(bins, device=start.device)[:, None]
    index = torch.arange(int(samples.max()), device=start.device)
    position = start + bin_index * size + (index + 0.5) * size / samples.clamp(min=1)
    counts = (index < samples) & (position >= -1) & (position <= length)
    weight = counts / samples.clamp(min=1)
    position = position.clamp(0, length - 1)
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
