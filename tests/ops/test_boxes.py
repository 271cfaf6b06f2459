"""Boxes against MMDetection's functions."""

import torch
from mmdet.models.task_modules import DeltaXYWHBBoxCoder
from mmdet.structures.bbox import bbox_overlaps

from lesionseg.ops.boxes import decode, encode, overlaps

MEANS, STDS = (0.1, 0.0, -0.2, 0.0), (0.1, 0.2, 0.2, 0.5)


def draw_boxes(*shape):
    start = 60 * torch.rand(*shape, 2)
    return torch.cat([start, start + 1 + 30 * torch.rand(*shape, 2)], -1)


def test_overlaps_are_upstreams():
    torch.manual_seed(0)
    first, second = draw_boxes(3, 7), draw_boxes(3, 11)
    # Without an area, alone and in two equal places.
    first[0, 2, 2:] = first[0, 2, :2]
    second[0, 3], second[1, 4] = first[0, 2], first[1, 5]
    found = overlaps(first, second)
    torch.testing.assert_close(found, bbox_overlaps(first, second), rtol=0, atol=0)
    assert found[0, 2, 3] == 0
    assert found[1, 5, 4] == 1
    assert overlaps(first, second[:, :0]).shape == (3, 7, 0)


def test_deltas_are_upstreams_and_lead_back():
    torch.manual_seed(0)
    boxes, targets = draw_boxes(50), draw_boxes(50)
    coder = DeltaXYWHBBoxCoder(MEANS, STDS)
    deltas = encode(boxes, targets, MEANS, STDS)
    torch.testing.assert_close(deltas, coder.encode(boxes, targets))
    torch.testing.assert_close(decode(boxes, deltas, MEANS, STDS), targets)
    # Boxes grow to no more than 62.5 times their size.
    far = 30 * torch.randn(50, 4)
    torch.testing.assert_close(decode(boxes, far, MEANS, STDS), coder.decode(boxes, far))
    by_image = decode(boxes.view(5, 10, 4), far.view(5, 10, 4), MEANS, STDS)
    torch.testing.assert_close(by_image.view(50, 4), coder.decode(boxes, far))
