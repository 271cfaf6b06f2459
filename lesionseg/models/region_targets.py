"""What the regions of a batch are to learn: which true instance each belongs to, and which of them are drawn.

MMDetection asks this image by image, in some hundreds of small operations and a few waits for the GPU each. Here all
images of a batch are asked at once, in tensors of a constant shape; `usable` and `present` say what in them counts.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from lesionseg.models.transfer import on_device
from lesionseg.ops.boxes import overlaps

NEGATIVE, IGNORED = -1, -2
# Room for instances in an image on a GPU, so that batches are of few shapes: this, or twice as much, and so on.
_ROOM = 4


class Truth(NamedTuple):
    """What is true of the images of a batch: G is the most instances that one of them has, or more.

    Attributes:
        boxes: (B, G, 4) float, x1 y1 x2 y2 in pixels.
        labels: (B, G) int64, their classes.
        masks: (B, G, H, W) uint8, of the padded images' size.
        present: (B, G) bool, whether there is such an instance.
        sizes: (B, 2) float, height and width of the images in pixels.
        padded_sizes: (B, 2) float, up to where anchors lie.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    present: Tensor
    sizes: Tensor
    padded_sizes: Tensor

    @classmethod
    def of(cls, samples: Sequence[DetDataSample]) -> "Truth":
        """That of images with `gt_instances`, whose masks are `BitmapMasks` of one size."""
        boxes = torch.cat([get_box_tensor(sample.gt_instances.bboxes) for sample in samples])
        labels = torch.cat([sample.gt_instances.labels for sample in samples])
        masks = torch.cat([torch.from_numpy(sample.gt_instances.masks.masks) for sample in samples])
        counts = torch.tensor([len(sample.gt_instances) for sample in samples])[:, None]
        room = max(int(counts.max()), 1)
        if boxes.is_cuda:
            room = max(_ROOM, 1 << (room - 1).bit_length())
        slots = torch.arange(room)
        present = slots < counts
        # Absent ones are the last row, a box without an area.
        index = torch.where(present, counts.cumsum(0) - counts + slots, -1)
        sizes, padded_sizes = (
            torch.tensor([sample.metainfo[shape][:2] for sample in samples]).float()
            for shape in ("img_shape", "pad_shape")
        )
        masks, present, index, sizes, padded_sizes = (
            on_device(each, boxes.device) for each in (masks, present, index, sizes, padded_sizes)
        )
        boxes, labels, masks = (
            torch.cat([each, each.new_zeros(1, *each.shape[1:])])[index] for each in (boxes, labels, masks)
        )
        return cls(boxes, labels, masks, present, sizes, padded_sizes)


def assign(
    boxes: Tensor,
    usable: Tensor,
    truth: Truth,
    positive_iou: float,
    negative_iou: float,
    least_iou: float | None,
) -> Tensor:
    """Give each box the true instance that it overlaps most.

    The rules are those of MMDetection's `MaxIoUAssigner`.

    Args:
        boxes: (N, 4) of every image, or (B, N, 4), x1 y1 x2 y2 in pixels.
        usable: (B, N) bool, the boxes that count.
        truth: the true instances.
        positive_iou: from this IoU on a box is the instance's.
        negative_iou: below it, it is background.
        least_iou: from this IoU on, the boxes that overlap an instance most are the instance's; None for no such.

    Returns:
        (B, N) int64: the instance's place in its image, `NEGATIVE` for background or `IGNORED`.
    """
    counts = truth.present[:, :, None] & usable[:, None]
    shared = overlaps(truth.boxes, boxes).where(counts, -1)
    most, which = shared.max(1)
    found = torch.where(most < negative_iou, NEGATIVE, IGNORED)
    found = torch.where(most >= positive_iou, which, found)
    if least_iou is not None:
        best = shared.amax(2, keepdim=True)
        closest = (shared == best) & (best >= least_iou) & counts
        places = torch.arange(shared.shape[1], device=shared.device)[:, None]
        # Of two instances, the later one has it.
        last = torch.where(closest, places, -1).amax(1)
        found = torch.where(last >= 0, last, found)
    return torch.where(usable, found, IGNORED)


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
