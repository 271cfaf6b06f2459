"""A baseline that has learned nothing: what is darker than skin in the blue channel, where melanin absorbs most.

The threshold is Otsu's (A Threshold Selection Method from Gray-Level Histograms, IEEE Transactions on Systems, Man, and
Cybernetics 9, 1979). What the figures below are was chosen on 300 training images of ISIC 2018, drawn by chance.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from lesionseg.engine.families import SEMANTIC
from lesionseg.inference.finder import Image, Prediction
from lesionseg.pixels.parts import fill_holes, most_central_component
from lesionseg.pixels.shrink import enlarge_mask, shrink_image, shrunk_size
from lesionseg.pixels.vignettes import find_vignette

# Pixels that the shorter edge is brought down to.
_SHORT_EDGE = 256
# Standard deviation of the Gaussian that takes hairs and noise away, as a share of the shorter edge.
_BLUR = 1 / 40


class OtsuBlue:
    """Finds the dark piece nearest to the centre; see `lesionseg.inference.finder.Finder`.

    It is sure everywhere: probabilities are 0 and 1. In an image of one colour it finds nothing; in any other it finds
    something, whether there is a lesion or not.
    """

    task = SEMANTIC

    def find(self, images: Sequence[Image], keep_scores: bool = False) -> list[Prediction]:
        """Find the lesions in images, whatever their sizes."""
        return [Prediction.of_mask(_find_lesion(image.pixels), keep_scores) for image in images]


def _find_lesion(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    small = shrink_image(pixels, shrunk_size(width, height, _SHORT_EDGE))
    return enlarge_mask(find_lesion(small), (width, height))


def find_lesion(image: np.ndarray) -> np.ndarray:
    """Find the lesion in a small image.

    Args:
        image: (H, W, 3) uint8 BGR.

    Returns:
        (H, W) bool, True = lesion: one piece without holes, or nothing.
    """
    blue = cv2.GaussianBlur(image[..., 0], (0, 0), _BLUR * min(image.shape[:2]))
    view = ~find_vignette(image)
    levels = blue[view]
    if not levels.size or levels.min() == levels.max():
        return np.zeros(blue.shape, bool)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return fill_holes(most_central_component((blue <= threshold) & view))
