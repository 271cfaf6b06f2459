"""Non-maximum suppression."""

import torch
from torch import Tensor

from lesionseg.ops.limits import at_least_float32

# Boxes that are compared with each other at once: enough to keep the processor busy, few enough to stay in its cache.
NMS_BLOCK = 512


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
    boxes = at_least_float32(boxes)
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
