"""The parts of a mask and its holes.

Parts are 8-connected, as everywhere in this project; holes are 4-connected, so that a diagonal line is closed.
"""

from typing import NamedTuple

import cv2
import numpy as np

# Of `most_central_component`, as a share of the width and of the height.
_SPREAD = 1 / 5


class Region(NamedTuple):
    """A piece of a picture.

    Attributes:
        left, top: of its box, in pixels.
        mask: (h, w) bool, the piece in its box.
    """

    left: int
    top: int
    mask: np.ndarray

    def of(self, picture: np.ndarray) -> np.ndarray:
        """What is in the box: (H, W, ...) -> (h, w, ...)."""
        height, width = self.mask.shape
        return picture[self.top : self.top + height, self.left : self.left + width]


def region_of(mask: np.ndarray) -> Region | None:
    """Cut (H, W) bool down to the smallest box around all that is True; None where nothing is."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Region(left, top, mask[top : top + height, left : left + width]) if width else None


def split_parts(mask: np.ndarray) -> list[Region]:
    """The parts of (H, W) bool, that with the most pixels first."""
    labels, stats = _components(mask)
    parts = []
    for number in np.argsort(-stats[:, cv2.CC_STAT_AREA], kind="stable"):
        left, top, width, height, area = map(int, stats[number])
        if area:
            parts.append(Region(left, top, labels[top : top + height, left : left + width] == number + 1))
    return parts


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Add what a mask encloses.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool, True also where no 4-connected way leads out of the picture without crossing the mask.
    """
    # With a frame, the outside is in one piece.
    framed = np.pad(mask, 1).view(np.uint8)
    cv2.floodFill(framed, None, (0, 0), 2)
    return framed[1:-1, 1:-1] != 2


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Keep the part with the most pixels, the first of several, or nothing of an empty mask: (H, W) bool."""
    labels, stats = _components(mask)
    return labels == stats[:, cv2.CC_STAT_AREA].argmax() + 1


def most_central_component(mask: np.ndarray) -> np.ndarray:
    """Keep the part with the most pixels where those near the centre count more, or nothing of an empty mask.

    A pixel's weight falls off as a Gaussian, whose standard deviation is a fifth of the width across and a fifth of the
    height down: that of a corner is a five-hundredth of the centre's.

    Args:
        mask: (H, W) bool.

    Returns:
        (H, W) bool.
    """
    down, across = (np.exp(-0.5 * (np.linspace(-0.5, 0.5, size) / _SPREAD) ** 2) for size in mask.shape)
    labels, _ = _components(mask)
    weights = np.bincount(labels.ravel(), np.outer(down, across).ravel(), minlength=2)[1:]
    return labels == weights.argmax() + 1


def drop_small(mask: np.ndarray, min_area: float) -> np.ndarray:
    """Take away parts of fewer than `min_area` pixels: (H, W) bool."""
    labels, stats = _components(mask)
    return np.concatenate([[False], stats[:, cv2.CC_STAT_AREA] >= min_area])[labels]


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label the parts of a mask.

    Returns:
        (H, W) int32, 0 = none; and (N, 5) int32, OpenCV's statistics from label 1 on, of an empty mask a line of zeros.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    return labels, stats[1:] if len(stats) > 1 else np.zeros((1, 5), np.int32)
