"""What the regions of a batch are to learn: which true instance each belongs to, and which of them are drawn.

MMDetection asks this image by image, in some hundreds of small operations and a few waits for the GPU each. Here all
images of a batch are asked at once, in tensors of a constant shape; `usable` and `present` say what in them counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor

from lesionseg.models.transfer import on_device

NEGATIVE, IGNORED = -1, -2


@dataclass(frozen=True)
class Truth:
    """The true instances of a batch, filled up to the most that an image has, and at least one.

    Attributes:
        boxes: (B, G, 4) float, x1 y1 x2 y2 in pixels.
        labels: (B, G) int64, their classes.
        present: (B, G) bool, whether there is such an instance.
        first: (B, 1) int64, how many instances the images before have.
    """

    boxes: Tensor
    labels: Tensor
    present: Tensor
    first: Tensor

    @classmethod
    def of(cls, samples: Sequence[DetDataSample]) -> "Truth":
        """Those of the images' `gt_instances`."""
        boxes = torch.cat([get_box_tensor(sample.gt_instances.bboxes) for sample in samples])
        labels = torch.cat([sample.gt_instances.labels for sample in samples])
        counts = torch.tensor([len(sample.gt_instances) for sample in samples])[:, None]
        first = counts.cumsum(0) - counts
        slots = torch.arange(max(int(counts.max()), 1))
        present = slots < counts
        # Absent ones are the last row, a box without an area.
        index = on_device(torch.where(present, first + slots, -1), boxes.device)
        boxes, labels = (torch.cat([each, each.new_zeros(1, *each.shape[1:])]) for each in (boxes, labels))
        return cls(boxes[index], labels[index], *(on_device(each, boxes.device) for each in (present, first)))


def assign(
    boxes: Tensor,
    usable: Tensor | None,
    truth: Truth,
    positive_iou: float,
    negative_iou: float,
    least_iou: float | None,
) -> Tensor:
    """Give each box the true instance that it overlaps most.

    The rules are those of MMDetection's `MaxIoUAssigner`.

    Args:
        boxes: (N, 4) of every image, or (B, N, 4), x1 y1 x2 y2 in pixels.
        usable: (B, N) bool, the boxes that count; all where it is None.
        truth: the true instances.
        positive_iou: from this IoU on a box is the instance's.
        negative_iou: below it, it is background.
        least_iou: from this IoU on, the boxes that overlap an instance most are the instance's; None for no such.

    Returns:
        (B, N) int64: the instance's place in its image, `NEGATIVE` for background or `IGNORED`.
    """
    overlaps = bbox_overlaps(truth.boxes, boxes.expand(len(truth.boxes), -1, -1))
    counts = truth.present[:, :, None] if usable is None else truth.present[:, :, None] & usable[:, None]
    overlaps = overlaps.where(counts, -1)
    most, which = overlaps.max(1)
    found = torch.where(most < negative_iou, NEGATIVE, IGNORED)
    found = torch.where(most >= positive_iou, which, found)
    if least_iou is not None:
        best = overlaps.amax(2, keepdim=True)
        closest = (overlaps == best) & (best >= least_iou) & counts
        places = torch.arange(overlaps.shape[1], device=overlaps.device)[:, None]
        # Of two instances, the later one has it.
        last = torch.where(closest, places, -1).amax(1)
        found = torch.where(last >= 0, last, found)
    return found if usable is None else torch.where(usable, found, IGNORED)


def draw(assigned: Tensor, count: int, most_positive: int) -> tuple[Tensor, Tensor]:
    """Draw regions, instances first and then background, as MMDetection's `RandomSampler` does.

    Args:
        assigned: (B, N), see `assign`.
        count: regions of an image.
        most_positive: of these, how many may be instances.

    Returns:
        Indices (B, S) int64 of the drawn regions, S the smaller one of `count` and N, and (B, S) bool: which of them
        were really drawn, as an image may have too few.
    """
    ranks = torch.rand(assigned.shape, device=assigned.device)
    highest, index = torch.where(assigned >= 0, ranks, -1).topk(min(most_positive, assigned.shape[1]))
    drawn = torch.zeros_like(assigned, dtype=torch.bool).scatter(1, index, highest >= 0)
    ranks = torch.where(assigned == NEGATIVE, ranks, -1).where(~drawn, 1 + ranks)
    highest, index = ranks.topk(min(count, assigned.shape[1]))
    return index, highest >= 0


def take(values: Tensor, index: Tensor) -> Tensor:
    """Entries (B, S, ...) of `values` (B, N, ...) at `index` (B, S), image by image."""
    rest = values.shape[2:]
    return values.gather(1, index.reshape(*index.shape, *(1 for _ in rest)).expand(*index.shape, *rest))
