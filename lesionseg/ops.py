"""mmcv's compiled operators in plain PyTorch, so that nothing has to be compiled.

`mmcv.ops` calls a compiled module, `mmcv._ext`. Where that is missing, importing lesionseg puts this one in its place:
the same function names, argument names and outputs written in place, on CPU and CUDA, forward and backward.
Inputs of less than float32 are computed in float32.

An operator that is not here can be imported but not called; the error says how to get the compiled one.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lesionseg.errors import DataError

# Boxes that are compared with each other at once: enough to keep the processor busy, few enough to stay in its cache.
NMS_BLOCK = 512
# Below this many channels, a region is cheaper to pool by dense matrix products than cell by cell.
FEW_CHANNELS = 8
# Bounds on temporary memory: weighted cells (about 100 bytes each), and elements of copied float32 maps.
MOST_CELLS, MOST_ELEMENTS = 2**21, 2**25


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2 in pixels.
        scores: (N,) float.
        iou_threshold: A box goes when its IoU with a kept, better-scored box is above this.
        offset: Added to widths and heights, 0 or 1.

    Returns:
        (K,) int64, the kept boxes' indices, best score first.
    """
    # The same call as in the compiled operator, so that tied scores come in the same order.
    waiting = scores.sort(dim=0, descending=True)[1]
    boxes = _at_least_float32(boxes)
    kept = [waiting[:0]]
    while len(waiting):
        best, waiting = waiting[:NMS_BLOCK], waiting[NMS_BLOCK:]
        best = best[_unsuppressed(_iou(boxes[best], boxes[best], offset) > iou_threshold)]
        waiting = waiting[~(_iou(boxes[best], boxes[waiting], offset) > iou_threshold).any(0)]
        kept.append(best)
    return torch.cat(kept)


def _unsuppressed(overlaps: Tensor) -> Tensor:
    """Boxes that no kept earlier box overlaps, (N,) bool. `overlaps` is (N, N) bool, best score first."""
    suppresses = overlaps.triu(1).float()
    kept = suppresses.new_ones(len(suppresses))
    # One round settles every box whose suppressors are settled: the first box at once, all of them after as many rounds
    # as the longest chain of suppressions has links, a handful in practice.
    while True:
        survivors = (kept @ suppresses == 0).to(kept)
        if torch.equal(survivors, kept):
            return kept.bool()
        kept = survivors


def _iou(a: Tensor, b: Tensor, offset: int) -> Tensor:
    """Intersection over union of boxes (N, 4) and (M, 4): (N, M), NaN for two empty boxes."""
    area_a, area_b = ((box[:, 2] - box[:, 0] + offset) * (box[:, 3] - box[:, 1] + offset) for box in (a, b))
    widths, heights = (
        (torch.minimum(a[:, None, axis + 2], b[:, axis + 2]) - torch.maximum(a[:, None, axis], b[:, axis]) + offset)
        for axis in (0, 1)
    )
    intersection = widths.clamp_(min=0) * heights.clamp_(min=0)
    return intersection / (area_a[:, None] + area_b - intersection)


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
    maps = _at_least_float32(input)
    image, rows, columns = _region_weights(
        rois.to(maps), maps.shape[2:], (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned
    )
    if maps.shape[1] < FEW_CHANNELS:
        for part in _parts([maps[0].numel()] * len(rois), MOST_ELEMENTS):
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
    grads = _at_least_float32(grad_output)
    batch, channels, height, width = grad_input.shape
    image, rows, columns = _region_weights(
        rois.to(grads), (height, width), (aligned_height, aligned_width), spatial_scale, sampling_ratio, aligned
    )
    if channels < FEW_CHANNELS:
        total = grads.new_zeros(grad_input.shape)
        for part in _parts([total[0].numel()] * len(rois), MOST_ELEMENTS):
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
    for part in _parts(counts.flatten(1).sum(1).tolist(), MOST_CELLS):
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
    output = _at_least_float32(value).new_zeros(batch, queries, value.shape[2] * value.shape[3])
    for level, part, cells, size in _levels(value, value_spatial_shapes, value_level_start_index, sampling_locations):
        output[part] += _attend_level(
            _at_least_float32(value[part, cells]),
            _at_least_float32(sampling_locations[part, :, :, level]),
            _at_least_float32(attention_weights[part, :, :, level]),
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
        inputs = [_at_least_float32(tensor).detach().requires_grad_() for tensor in sliced]
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
        for part in _parts([queries * heads * points * value.shape[3]] * batch, MOST_ELEMENTS):
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


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Focal loss (https://arxiv.org/abs/1708.02002), which MMSeg and MMDet compute by an operator on CUDA only.

    Args:
        input: (N, C) float logits.
        target: (N,) int64 class, C or more for none.
        weight: (C,) of the target's class, or empty.
        output: (N, C), written.
        gamma: Focusing exponent.
        alpha: Weight of the positive class; the negative's is 1 - alpha.
    """
    output.copy_(_focal_loss(_at_least_float32(input), target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss' derivative by its own logit to `grad_input` (N, C). Arguments as in the forward function."""
    logits = _at_least_float32(input).detach().requires_grad_()
    with torch.enable_grad():
        loss = _focal_loss(logits, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(loss, logits)[0])


def _focal_loss(logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    positive = target[:, None] == torch.arange(logits.shape[1], device=logits.device)
    towards_target = torch.where(positive, logits, -logits)
    balance = torch.where(positive, alpha, 1 - alpha)
    loss = -balance * torch.sigmoid(-towards_target) ** gamma * F.logsigmoid(towards_target)
    return loss * weight[target][:, None] if weight.numel() else loss


def get_compiler_version() -> str:
    """What environment reports show for the operators' compiler."""
    return "none, operators in plain PyTorch"


def get_compiling_cuda_version() -> str:
    """What environment reports show for the operators' CUDA compiler."""
    return get_compiler_version()


def __getattr__(name: str) -> Callable:
    # mmcv.ops asserts on import that every operator it knows is there.
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise DataError(_only_compiled(name))

    return refuse


def _refuse_max_pooling(name: str, pool_mode: int) -> None:
    if pool_mode != 1:
        raise DataError(_only_compiled(f"{name} with pool_mode='max'"))


def _only_compiled(operator: str) -> str:
    return (
        f"mmcv.ops: {operator} exists only as a compiled operator, expected one that lesionseg has in plain PyTorch. "
        "To compile mmcv, add `[tool.uv.extra-build-dependencies] onedl-mmcv = [{ requirement = "
        '"torch", match-runtime = true }, "setuptools<81", "ninja"]` to pyproject.toml '
        "and run `uv sync --reinstall-package onedl-mmcv`"
    )


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _parts(sizes: Sequence[int], most: int) -> Iterator[slice]:
    """Slice a sequence of items so that the sizes in a slice add up to at most `most`, or it holds a single item."""
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and total + size > most:
            yield slice(start, index)
            start, total = index, 0
        total += size
    if sizes:
        yield slice(start, len(sizes))
