"""Non-maximum suppression."""

import torch
from torch import Tensor

from lesionseg.errors import DataError
from lesionseg.ops.boxes import overlaps
from lesionseg.ops.kernels import kernels_for, torchvision
from lesionseg.ops.limits import at_least_float32, only_compiled

# Of `best_of_groups`: from one look at whether all is decided to the next, and groups whose pairs are compared at once.
_ROUNDS, _GROUPS = 16, 16


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Greedy non-maximum suppression, by torchvision.

    Args:
        boxes: (N, 4) float, x1 y1 x2 y2 in pixels.
        scores: (N,) float.
        iou_threshold: A box goes when its IoU with a kept, better-scored box is above this.
        offset: Added to widths and heights. Only 0 is served.

    Returns:
        (K,) int64, the kept boxes' indices, best score first, the first of tied ones first.

    Raises:
        DataError: For another offset.
    """
    if offset:
        raise DataError(only_compiled(f"nms with offset={offset}"))
    boxes = at_least_float32(boxes)
    return torchvision.ops.nms(boxes, scores.to(boxes), iou_threshold)


def best_of_groups(boxes: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression in many groups at once, for GPUs: it hardly waits for them.

    Whether a box stays follows from better ones that stay. All begin as if they stayed; each round decides at least one
    more in the row of those that depend on each other, and when nothing changes, all are decided. That is Cluster-NMS
    (Zheng et al. 2020, arXiv 2005.03572); the outcome is that of `nms`. Triton's kernel does it without waiting at all.

    Args:
        boxes: (G, N, 4) float, x1 y1 x2 y2 in pixels, the best of a group first.
        iou_threshold: A box goes when its IoU with a kept, better one is above this.

    Returns:
        (G, N) bool, which are kept.
    """
    kernels = kernels_for(boxes, "suppression")
    if kernels is not None:
        return kernels.best_of_groups(boxes, iou_threshold)
    above = torch.cat([(overlaps(groups, groups) > iou_threshold).triu(1) for groups in boxes.split(_GROUPS)])
    kept = boxes.new_ones(boxes.shape[:2], dtype=torch.bool)
    while True:
        for _ in range(_ROUNDS):
            before, kept = kept, ~(above & kept[:, :, None]).any(1)
        if torch.equal(kept, before):
            return kept
