"""Non-maximum suppression."""

from torch import Tensor

from lesionseg.errors import DataError
from lesionseg.ops.kernels import torchvision
from lesionseg.ops.limits import at_least_float32, only_compiled


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
