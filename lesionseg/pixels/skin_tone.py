"""How light skin is in a photograph, by the individual typology angle (ITA).

ITA = arctan((L* - 50) / b*) x 180 / pi, of CIELAB colours, in degrees, and its six classes: Chardon, Cretois, Hourseau,
Skin colour typology and suntanning pathways, International Journal of Cosmetic Science 13, 1991. The camera and the
light of a photograph move it by more than a class: it compares groups of images, and says nothing of a person.
"""

import cv2
import numpy as np

from lesionseg.pixels.shrink import shrink_image, shrink_mask, shrunk_size
from lesionseg.pixels.vignettes import find_vignette

# Name -> the degrees above which it begins, from light to dark.
TONES = {"very light": 55.0, "light": 41.0, "intermediate": 28.0, "tan": 10.0, "brown": -30.0, "dark": -90.0}
# Pixels of the shorter edge that skin is looked at in.
_SHORT_EDGE = 256
# How far the lesion's edge reaches into the skin around it, and how wide a hair is, as shares of the shorter edge.
_AROUND, _HAIR = 1 / 20, 1 / 28
# Gray levels by which a hair is darker than the skin on both sides of it.
_DARKER = 10
# Of the image; of less skin nothing is told.
_LEAST_SKIN = 0.02


def typology_angle(image: np.ndarray, lesion: np.ndarray) -> float | None:
    """Measure the skin around a lesion, without hairs and the dark border of a round view.

    Args:
        image: (H, W, 3) uint8 BGR.
        lesion: (H, W) bool.

    Returns:
        degrees, of the median L* and b* of the skin; None where hardly any is to be seen.
    """
    height, width = lesion.shape
    size = shrunk_size(width, height, _SHORT_EDGE)
    small, mask = shrink_image(image, size), shrink_mask(lesion.view(np.uint8), size)
    skin = ~(cv2.dilate(mask, _disc(_AROUND, size)) > 0) & ~find_vignette(small) & ~_find_hair(small, size)
    if np.count_nonzero(skin) < _LEAST_SKIN * skin.size:
        return None
    # As floats, OpenCV takes 0..1 and gives L* in 0..100.
    colours = cv2.cvtColor(small[skin][None].astype(np.float32) / 255, cv2.COLOR_BGR2LAB)[0]
    lightness, _, yellow = np.median(colours, axis=0)
    # The arctan of the formula wherever b* is positive, as that of skin is.
    return float(np.degrees(np.arctan2(lightness - 50, yellow)))


def tone_of(angle: float) -> str:
    """The class of an angle in degrees.

    Example:
        >>> tone_of(48.0), tone_of(-31.0)
        ('light', 'dark')
    """
    return next((name for name, above in TONES.items() if angle > above), "dark")


def _find_hair(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Find thin dark lines, (H, W) bool, as DullRazor does (Lee et al. 1997): what a closing fills."""
    gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    filled = cv2.morphologyEx(gray, cv2.MORPH_BLACKHAT, _disc(_HAIR, size))
    return cv2.dilate((filled > _DARKER).view(np.uint8), _disc(0, size)) > 0


def _disc(share: float, size: tuple[int, int]) -> np.ndarray:
    edge = 2 * round(share * min(size)) + 3
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge))
