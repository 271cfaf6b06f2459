"""What may be done to a predicted mask: fill holes, drop small parts, keep the largest one, smooth the edge."""

from dataclasses import dataclass

import cv2
import numpy as np

from lesionseg.errors import DataError
from lesionseg.pixels.parts import drop_small, fill_holes, largest_component

# In standard deviations: what a Gaussian has left further out moves no pixel across one half.
_REACH = 4
# Pixels. A wider Gaussian is applied to a mask that is made smaller first: its weights change too slowly for that to
# be seen, and it would take a minute on a photograph.
_WIDEST = 32
# Pixels; beyond, nothing is left of any picture's lesion.
MOST_SMOOTH = 10_000


@dataclass(frozen=True)
class PostProcessing:
    """What is done to masks, in this order; nothing unless asked.

    Attributes:
        smooth: strength for `smooth`; 1 and above in pixels, below 1 as a share of the image's shorter edge.
        fill_holes: see `lesionseg.pixels.parts.fill_holes`.
        min_area: least area of a part for `lesionseg.pixels.parts.drop_small`; 1 and above in pixels, below 1 as a
            share of the image.
        largest: see `lesionseg.pixels.parts.largest_component`.

    Raises:
        DataError: a negative strength or area, or a strength above `MOST_SMOOTH`.

    Example:
        >>> mask = np.zeros((5, 7), bool)
        >>> mask[0, 0] = mask[2:4, 2:6] = True
        >>> int(PostProcessing(largest=True).apply(mask).sum())
        8
    """

    smooth: float = 0
    fill_holes: bool = False
    min_area: float = 0
    largest: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.smooth <= MOST_SMOOTH:
            raise DataError(f"smooth: {self.smooth}, expected a number from 0 to {MOST_SMOOTH}. Correct it.")
        if not 0 <= self.min_area < float("inf"):
            raise DataError(f"min_area: {self.min_area}, expected a number from 0. Correct it.")

    def describe(self) -> str:
        """What is done, for whoever reads the scores of such masks; nothing where that is nothing."""
        steps = [
            f"the edge smoothed ({self.smooth:g})" if self.smooth else "",
            "holes filled" if self.fill_holes else "",
            f"components below {self.min_area:g} dropped" if self.min_area else "",
            "only the largest component kept" if self.largest else "",
        ]
        return ", ".join(filter(None, steps))

    def apply(self, mask: np.ndarray) -> np.ndarray:
        """Process a mask: (H, W) bool -> (H, W) bool. The given one is not changed."""
        if self.smooth:
            mask = smooth(mask, self.smooth if self.smooth >= 1 else self.smooth * min(mask.shape))
        if self.fill_holes:
            mask = fill_holes(mask)
        if self.min_area:
            mask = drop_small(mask, self.min_area if self.min_area >= 1 else self.min_area * mask.size)
        return largest_component(mask) if self.largest else mask


def smooth(mask: np.ndarray, sigma: float) -> np.ndarray:
    """Round off a mask's edge: a pixel is True where more than half of what lies around it is, by a Gaussian.

    A straight edge stays where it is; what is thinner than about 1.3 `sigma` vanishes, and so do discs of less
    than 1.2 `sigma` in radius. Beyond the picture's border, the mask is taken to go on as it is there.

    Args:
        mask: (H, W) bool.
        sigma: standard deviation in pixels.

    Returns:
        (H, W) bool.
    """
    reach = int(np.ceil(_REACH * sigma))
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    around = np.s_[max(0, top - reach) : top + height + reach, max(0, left - reach) : left + width + reach]
    smoothed = np.zeros_like(mask)
    smoothed[around] = _blur(mask[around].astype(np.float32), sigma) > 0.5
    return smoothed


def _blur(soft: np.ndarray, sigma: float) -> np.ndarray:
    """Apply a Gaussian: (H, W) float32 -> (H, W) float32."""
    height, width = soft.shape
    factor = max(1, sigma / _WIDEST)
    if factor > 1:
        small = max(1, round(width / factor)), max(1, round(height / factor))
        soft = cv2.resize(soft, small, interpolation=cv2.INTER_AREA)
    edge = 2 * int(np.ceil(_REACH * sigma / factor)) + 1
    soft = cv2.GaussianBlur(soft, (edge, edge), sigma / factor, borderType=cv2.BORDER_REPLICATE)
    return soft if factor == 1 else cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
