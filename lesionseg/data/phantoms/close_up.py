"""Draws close-ups of skin with a few small red spots.

Beside them the skin has freckles, mottles and furrows, as beside the lesions of `lesionseg.data.phantoms.phantom`.
"""

import math

import cv2
import numpy as np

from lesionseg.data.phantoms.skin import HAEMOGLOBIN, MELANIN, draw_hairs, draw_skin, noise, take_photograph, through
from lesionseg.errors import DataError

# Of the picture's pixels, all its spots together.
SPOT_SHARE = (0.002, 0.009)
_LARGEST_SHARE, _FEWEST_PIXELS = 0.1, 2
_MOST_SPOTS = 5


def draw_close_up(
    seed: int, height: int, width: int, spot_share: tuple[float, float] = SPOT_SHARE
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one close-up and its mask.

    Half a spot's redness is where its mask ends.

    Args:
        seed: at least 0; the same arguments give the same bytes (with the same versions of NumPy and OpenCV).
        height: in pixels, 32 to 4096.
        width: in pixels, 32 to 4096.
        spot_share: the least and the most of the picture, 0..1, that its spots cover together.

    Returns:
        image: (H, W, 3) uint8 BGR.
        mask: (H, W) uint8 gray, 0 = skin, 255 = spot.

    Raises:
        DataError: spots of that share cannot be drawn at this size.
    """
    check_spot_share(spot_share, height, width)
    rng = np.random.default_rng(seed)
    least, most = spot_share
    redness = _spots(rng, (height, width), spot_share)
    while not least <= (redness > 0.5).mean() <= most:
        redness = _spots(rng, (height, width), spot_share)
    spots = redness > 0.5
    # Far from any lesion, as draw_skin and draw_hairs know it.
    depth = np.full(redness.shape, -max(redness.shape), np.float32)
    image = draw_skin(rng, depth)
    uneven = np.exp(0.2 * noise(rng, redness.shape, 0.05 * min(height, width)))
    blood = redness * np.float32(rng.uniform(0.25, 0.7)) * uneven
    image = through(image, (blood, HAEMOGLOBIN), (redness * np.float32(rng.uniform(0, 0.08)), MELANIN))
    if rng.random() < 0.3:
        draw_hairs(rng, image, depth)
    return take_photograph(rng, image), np.where(spots, np.uint8(255), np.uint8(0))


def check_spot_share(spot_share: tuple[float, float], height: int, width: int) -> None:
    """Refuse shares between which a picture of that size is never or hardly ever drawn, with a `DataError`."""
    least, most = spot_share
    fewest = _FEWEST_PIXELS / (height * width)
    if not fewest <= least <= most / 2 <= _LARGEST_SHARE / 2:
        raise DataError(
            f"spots that cover {least:g} to {most:g} of {height} x {width} pixels: expected a least of {fewest:.2g} or "
            f"more, that is {_FEWEST_PIXELS} pixels, and a most of twice the least up to {_LARGEST_SHARE:g}. "
            "Choose another --spot-share."
        )


def _spots(rng: np.random.Generator, size: tuple[int, int], spot_share: tuple[float, float]) -> np.ndarray:
    """How red it is, (H, W) float32, 0..1: round spots with soft rims."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    redness = np.zeros(size, np.float32)
    number = int(rng.integers(1, _MOST_SPOTS + 1))
    share = math.exp(rng.uniform(math.log(spot_share[0]), math.log(spot_share[1])))
    for part in rng.dirichlet(np.full(number, 4.0)):
        radius = math.sqrt(part * share * height * width / math.pi)
        left, top = rng.uniform(0.05, 0.95, 2) * (width, height)
        angle, stretch = rng.uniform(0, math.pi), math.sqrt(rng.uniform(1, 1.6))
        along = ((x - left) * math.cos(angle) + (y - top) * math.sin(angle)) / stretch
        across = ((y - top) * math.cos(angle) - (x - left) * math.sin(angle)) * stretch
        away = cv2.magnitude(along, across)
        soft = max(0.5, radius * rng.uniform(0.1, 0.35))
        redness = np.maximum(redness, 1 / (1 + cv2.exp(np.clip((away - radius) / soft * 3, -20, 20))))
    return redness
