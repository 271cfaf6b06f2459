"""Non-maximum suppression of many groups on CUDA, in one kernel; see `lesionseg.ops.suppression`. Needs Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor


def best_of_groups(boxes: Tensor, iou_threshold: float) -> Tensor:
    """See `lesionseg.ops.suppression.best_of_groups`; float32."""
    boxes = boxes.contiguous()
    groups, length = boxes.shape[:2]
    kept = torch.empty(groups, length, dtype=torch.int8, device=boxes.device)
    if kept.numel():
        _suppress[(groups,)](boxes, kept, length, iou_threshold, BLOCK=triton.next_power_of_2(length), num_warps=8)
    return kept.bool()


@triton.jit
def _suppress(boxes, kept, length, iou_threshold, BLOCK: tl.constexpr):  # noqa: N803
    """A program takes a group: box after box, the best one first, it strikes out those that overlap it, if it stays."""
    first = tl.program_id(0).to(tl.int64) * length
    places = tl.arange(0, BLOCK)
    there = places < length
    corners = boxes + (first + places) * 4
    left, top = tl.load(corners, mask=there, other=0.0), tl.load(corners + 1, mask=there, other=0.0)
    right, bottom = tl.load(corners + 2, mask=there, other=0.0), tl.load(corners + 3, mask=there, other=0.0)
    areas = (right - left) * (bottom - top)
    stays = there.to(tl.int32)
    for place in range(length):
        corner = boxes + (first + place) * 4
        from_x, from_y, to_x, to_y = tl.load(corner), tl.load(corner + 1), tl.load(corner + 2), tl.load(corner + 3)
        width = tl.maximum(tl.minimum(right, to_x) - tl.maximum(left, from_x), 0.0)
        height = tl.maximum(tl.minimum(bottom, to_y) - tl.maximum(top, from_y), 0.0)
        common = width * height
        union = tl.maximum(areas + (to_x - from_x) * (to_y - from_y) - common, 1e-6)
        this_stays = tl.sum(tl.where(places == place, stays, 0))
        struck = (common / union > iou_threshold) & (places > place) & (this_stays > 0)
        stays = tl.where(struck, 0, stays)
    tl.store(kept + first + places, stays.to(tl.int8), mask=there)
