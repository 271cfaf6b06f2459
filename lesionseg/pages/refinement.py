"""A rough outline -> the lesion in it, by GrabCut (Rother et al. 2004, 10.1145/1015706.1015720)."""

import cv2
import numpy as np

from lesionseg.errors import DataError
from lesionseg.pixels.shrink import enlarge_mask, shrink_image, shrink_mask

_ROUNDS = 5
# Pixels; fewer say too little of the colours.
_FEWEST = 25
# Of the longer edge of what is looked at: its time grows much faster than the pixels, to a minute at 1,024.
_LONGEST_EDGE = 256


def refine(image: np.ndarray, inside: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Find in an outline what differs from the skin around it.

    Args:
        image: (H, W, 3) uint8 BGR.
        inside: (H, W) bool, True within the outline.
        mask: (H, W) bool, what was drawn so far; within the outline it is taken for probable lesion, and the rest for
            probable skin. Where nothing was drawn, all within is probable lesion.

    Returns:
        (H, W) bool, `mask` outside of the outline, and what was found within.

    Raises:
        DataError: there are too few pixels within the outline or around it.
    """
    around = _surroundings(inside)
    labels = np.where(inside, np.uint8(cv2.GC_PR_FGD), np.uint8(cv2.GC_BGD))[around]
    drawn = (mask & inside)[around]
    if drawn.any():
        labels[inside[around] & ~drawn] = cv2.GC_PR_BGD
    height, width = labels.shape
    scale = min(1, _LONGEST_EDGE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    labels = shrink_mask(labels, size)
    skin = np.isin(labels, (cv2.GC_BGD, cv2.GC_PR_BGD))
    fewest = min(np.count_nonzero(skin), np.count_nonzero(~skin))
    if fewest < _FEWEST:
        raise DataError(
            f"outline: {fewest} pixels of lesion or of skin to learn from, expected {_FEWEST} or more of both. Draw "
            "around the lesion, with some skin left outside."
        )
    # Its clusters begin at random.
    cv2.setRNGSeed(0)
    colours = np.zeros((1, 65)), np.zeros((1, 65))
    small = shrink_image(np.ascontiguousarray(image[around]), size)
    found, _, _ = cv2.grabCut(small, labels, (0, 0, 0, 0), *colours, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    refined = mask & ~inside
    refined[around] |= enlarge_mask((found == cv2.GC_FGD) | (found == cv2.GC_PR_FGD), (width, height)) & inside[around]
    return refined


def _surroundings(inside: np.ndarray) -> tuple[slice, slice]:
    """The box of an outline with as much skin around it as half its longer edge."""
    left, top, width, height = cv2.boundingRect(inside.view(np.uint8))
    margin = max(width, height) // 2 + 1
    return np.s_[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin]
