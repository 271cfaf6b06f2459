"""The parts of a mask and its holes.

Parts are 8-connected, as everywhere in this project; holes are 4-connected, so that a diagonal line is closed.
"""

import cv2
import numpy as np

# Of `most_central_component`, as a share of the width and of the height.
_SPREAD = 1 / 5


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
    labels, areas = _components(mask)
    return labels == areas.argmax() + 1


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
    labels, areas = _components(mask)
    return np.concatenate([[False], areas >= min_area])[labels]


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label the parts of a mask: (H, W) int32, 0 = none, and the area of each from label 1 on; at least one area."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    areas = boxes[1:, cv2.CC_STAT_AREA]
    return labels, areas if len(areas) else np.zeros(1, int)
