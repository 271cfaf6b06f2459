"""Draws dermoscopy-like images with exact masks, for the quickstart and for tests.

The skin is a tone seen through two absorbing layers, melanin and haemoglobin, and a lesion is more of both: light
passes as exp(-density x absorption), so brown, black, red and everything between come from densities alone. Only the
milky blue-gray veil is mixed in as paint. Sizes are shares of the short side, so phantoms look alike at every size.

Arrays are (H, W) or (H, W, 3); colours are BGR in [0, 255]; fields are float32.
"""

import math
import os
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from lesionseg import __version__
from lesionseg.data.names import mask_file
from lesionseg.data.phantoms.close_up import check_spot_share, draw_close_up
from lesionseg.data.phantoms.skin import (
    HAEMOGLOBIN,
    MELANIN,
    draw_bubbles,
    draw_field_of_view,
    draw_hairs,
    draw_ink,
    draw_patch,
    draw_ruler,
    draw_skin,
    fractal,
    noise,
    paint,
    ramp,
    take_photograph,
    through,
)
from lesionseg.errors import DataError
from lesionseg.files import write_aside, written_path
from lesionseg.pixels.masks import encode_mask
from lesionseg.workers import map_files

SMALLEST_SHARE, LARGEST_SHARE = 0.03, 0.70

# Streaks are drawn on a square of the diagonal, which takes memory.
_SHORTEST, _LONGEST = 32, 4096
_MOST_IMAGES = 10_000_000

# In the order in which they lie on the skin, with the share of the images that show them.
_THINGS = ((draw_ink, 0.1), (draw_patch, 0.08), (draw_bubbles, 0.2), (draw_ruler, 0.25), (draw_hairs, 0.55))
_BLUE_GRAY = np.array([134, 117, 110], np.float32)

_LICENSE = """CC0 1.0 Universal

The images and masks in this folder were drawn by the program lesionseg. They show no person. To the extent possible
under law, all copyright and related rights in them are waived: https://creativecommons.org/publicdomain/zero/1.0/
"""
_ATTRIBUTION = """Drawn by lesionseg {version}: phantoms, not photographs. Not for any medical conclusion.
No attribution is asked for. The files are named like those of the ISIC 2018 challenge, but none of them comes from it.
"""


def draw_phantom(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one image of a lesion and its mask.

    The lesion is blended into the skin, and the mask is where the blend is half lesion or more. Hairs, rulers and
    bubbles lie over the lesion and leave the mask as it is. The lesion covers 3 % to 70 % of the image.

    Args:
        seed: at least 0. The same seed and size give the same bytes (with the same versions of NumPy and OpenCV).
        height: in pixels, 32 to 4096.
        width: in pixels, 32 to 4096.

    Returns:
        image: (H, W, 3) uint8 BGR.
        mask: (H, W) uint8 gray, 0 = skin, 255 = lesion.

    Raises:
        DataError: the image would be too small or too large.

    Example:
        >>> image, mask = draw_phantom(seed=0, height=60, width=80)
        >>> image.shape, mask.shape
        ((60, 80, 3), (60, 80))
    """
    _check_size(height, width)
    rng = np.random.default_rng(seed)
    lesion = _draw_shape(rng, (height, width))
    while not SMALLEST_SHARE <= lesion.mean() <= LARGEST_SHARE:
        lesion = _draw_shape(rng, (height, width))
    depth = _depth(lesion)
    image = draw_skin(rng, depth)
    _blend_lesion(rng, image, depth)
    for draw, chance in _THINGS:
        if rng.random() < chance:
            draw(rng, image, depth)
    draw_field_of_view(rng, image, lesion)
    return take_photograph(rng, image), np.where(lesion, np.uint8(255), np.uint8(0))


def draw_release(
    folder: str | PathLike,
    training: int = 64,
    validation: int = 16,
    test: int = 16,
    seed: int = 0,
    height: int = 192,
    width: int = 256,
    spot_share: tuple[float, float] | None = None,
) -> None:
    """Write phantoms as a release with the folders and names of ISIC 2018 Task 1, all of it or nothing.

    Ids run on over the splits, and no two images are the same phantom.

    Args:
        folder: gets `ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg`,
            `ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png` and so on; new or empty.
        training: number of images; 0 leaves the split out.
        validation: as `training`.
        test: as `training`.
        seed: at least 0; another one gives other images.
        height: of the images, in pixels.
        width: of the images, in pixels.
        spot_share: draw close-ups of skin in place of dermoscopic lesions, with small red spots that cover between
            this least and this most of the picture, 0..1.

    Raises:
        DataError: the folder holds something already, there would be no images, they would be too small
            or too large, or spots of that share cannot be drawn in them.
    """
    folder = written_path(folder)
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: already there, expected a new or empty folder. Remove it or choose another.")
    counts = {"Training": training, "Validation": validation, "Test": test}
    # An id has seven digits, so releases of different seeds share no phantom.
    if min(counts.values()) < 0 or not 0 < sum(counts.values()) <= _MOST_IMAGES:
        raise DataError(
            f"{folder}: {training}, {validation} and {test} images, expected 1 to {_MOST_IMAGES} in all. Correct them."
        )
    splits = [split for split, count in counts.items() for _ in range(count)]
    _check_size(height, width)
    draw: Callable[[int, int, int], tuple[np.ndarray, np.ndarray]] = draw_phantom
    if spot_share is not None:
        check_spot_share(spot_share, height, width)
        draw = partial(draw_close_up, spot_share=spot_share)
    with write_aside(folder) as aside:
        aside.mkdir()
        for split in dict.fromkeys(splits):
            _make_split_folders(aside, split)

        def write_pair(number: int) -> None:
            image, mask = draw(seed * _MOST_IMAGES + number, height, width)
            inputs, truths = _split_folders(aside, splits[number])
            _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])
            id = f"ISIC_{number:07d}"
            (inputs / f"{id}.jpg").write_bytes(jpeg.tobytes())
            (truths / mask_file(id)).write_bytes(encode_mask(mask > 0))

        for _ in map_files(write_pair, range(len(splits)), "drawing"):
            pass


def _check_size(height: int, width: int) -> None:
    if min(height, width) < _SHORTEST or max(height, width) > _LONGEST:
        raise DataError(
            f"a phantom of {height} x {width} pixels: too {'small' if min(height, width) < _SHORTEST else 'large'}, "
            f"expected {_SHORTEST} to {_LONGEST} each way. Choose another --height and --width."
        )


def _split_folders(folder: Path, split: str) -> tuple[Path, Path]:
    return folder / f"ISIC2018_Task1-2_{split}_Input", folder / f"ISIC2018_Task1_{split}_GroundTruth"


def _make_split_folders(folder: Path, split: str) -> None:
    for part in _split_folders(folder, split):
        part.mkdir(parents=True)
        (part / "LICENSE.txt").write_text(_LICENSE, encoding="utf-8")
        (part / "ATTRIBUTION.txt").write_text(_ATTRIBUTION.format(version=__version__), encoding="utf-8")


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _draw_shape(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """The lesion's outline as a mask, (H, W) bool: one part, sometimes two, rarely with a hole."""
    height, width = size
    short = min(size)
    share = _log_uniform(rng, 1.2 * SMALLEST_SHARE, 0.95 * LARGEST_SHARE)
    radius = math.sqrt(share * height * width / math.pi)
    middle = np.array([width, height]) * np.clip(rng.normal(0.5, 0.07, 2), 0.2, 0.8)
    if rng.random() < 0.05:
        axis = rng.integers(2)
        middle[axis] = (width, height)[axis] * rng.choice([0.03, 0.97])
    closeness = _closeness(rng, size, middle, radius)

    if share > 0.06 and rng.random() < 0.12:
        away = rng.uniform(0, 2 * math.pi)
        other = middle + 1.7 * radius * np.array([math.cos(away), math.sin(away)])
        other = np.clip(other, 0.15 * short, np.array([width, height]) - 0.15 * short)
        second = _closeness(rng, size, other, radius) + math.log(rng.uniform(0.5, 0.9))
        parts = [closeness - second > 0.15, second - closeness > 0.15]
        closeness = np.maximum(closeness, second)
    else:
        parts = [np.ones(size, bool)]

    # The share of the pixels is drawn, and the level follows from it.
    level = np.quantile(closeness[np.any(parts, axis=0)], 1 - share)
    lesion = np.any([_fill_largest(part & (closeness > level)) for part in parts], axis=0)
    if share > 0.12 and rng.random() < 0.06:
        at = middle + rng.uniform(-0.15, 0.15, 2) * radius
        hole = _closeness(rng, size, at, 0.5 * radius) > -math.log(rng.uniform(0.2, 0.35) * radius)
        lesion &= ~_fill_largest(hole)
    return lesion


def _closeness(rng: np.random.Generator, size: tuple[int, int], middle: np.ndarray, radius: float) -> np.ndarray:
    """Minus the logarithm of the distance from a point in pixels; its level lines are ellipses with rough edges."""
    x = np.arange(size[1], dtype=np.float32)[None] - np.float32(middle[0])
    y = np.arange(size[0], dtype=np.float32)[:, None] - np.float32(middle[1])
    angle, stretch = rng.uniform(0, math.pi), math.sqrt(rng.uniform(1, 1.9))
    along = (x * math.cos(angle) + y * math.sin(angle)) / stretch
    across = (y * math.cos(angle) - x * math.sin(angle)) * stretch
    rough = rng.uniform(0.05, 0.22) * fractal(rng, size, radius, 4, 0.5)
    rough += rng.uniform(0.01, 0.05) * noise(rng, size, max(3, 0.07 * radius))
    return rough - 0.5 * cv2.log(along * along + across * across + 1)


def _fill_largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part of a mask, (H, W) bool, with its holes filled."""
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    if contours:
        cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    return filled.view(bool)


def _depth(lesion: np.ndarray) -> np.ndarray:
    """Distance in pixels to the border of the mask, (H, W) float32: above 0 in the lesion, below 0 in the skin."""
    mask = lesion.view(np.uint8)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    outside = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_5)
    # Distances are counted from pixel centres; the border runs half a pixel before them.
    return np.where(lesion, inside - 0.5, 0.5 - outside)


def _blend_lesion(rng: np.random.Generator, image: np.ndarray, depth: np.ndarray) -> None:
    """Blend the lesion into the skin in place: half and half along the border of the mask."""
    size = depth.shape
    short, thickest = min(size), float(depth.max())
    blur = min(short * _log_uniform(rng, 0.004, 0.02), 0.1 * thickest)
    blur = blur * np.exp(0.6 * noise(rng, size, 0.3 * short))
    share = 1 / (1 + cv2.exp(-np.clip(depth / np.maximum(blur, 0.6), -20, 20)))
    lesion = _lesion_colours(rng, image, depth / thickest)
    image += share[..., None] * (lesion - image)


def _lesion_colours(rng: np.random.Generator, skin: np.ndarray, inwards: np.ndarray) -> np.ndarray:
    """The skin as it looks where the lesion is.

    Args:
        rng: decides on brown or red, variegation, structure, regression and the blue-gray veil.
        skin: (H, W, 3) float32.
        inwards: (H, W) float32, 0 at the lesion's border and 1 in its depth.
    """
    size = inwards.shape
    short = min(size)
    # Dark skin takes denser pigment to show the same contrast.
    density = _log_uniform(rng, 0.16 + 0.32 * (1 - float(skin.mean()) / 255), 1.5)
    reddish = rng.random() < 0.1
    melanin = np.exp(rng.uniform(0.1, 0.35) * fractal(rng, size, short / 5, 5, 0.65))
    melanin *= density * (0.35 if reddish else 1)
    melanin *= 1 + rng.uniform(-0.2, 0.5) * (ramp(inwards, -0.1, 0.8) - 0.5)
    melanin *= _structure(rng, size)
    blood = np.exp(0.35 * fractal(rng, size, short / 4, 3, 0.6))
    blood *= 0.2 + 0.45 * density if reddish else rng.uniform(0, 0.2)
    inner = ramp(inwards, 0.1, 0.5)
    if rng.random() < 0.2:
        melanin *= 1 - 0.75 * inner * ramp(fractal(rng, size, short / 3, 3, 0.5), 0.1, 0.9)
    pigment = MELANIN * np.float32(np.exp(rng.normal(0, 0.07, 3)))
    colours = through(skin, (melanin, pigment), (blood, HAEMOGLOBIN))
    if rng.random() < 0.25:
        veil = inner * ramp(fractal(rng, size, short / 3, 3, 0.5), -0.3, 0.9)
        paint(colours, 255 * veil, _BLUE_GRAY * float(skin.mean()) / 200, rng.uniform(0.25, 0.65))
    return colours


def _structure(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Factor on the pigment, (H, W) of mean about 1: a network, globules or nothing, in some regions more."""
    kind = rng.choice(["network", "globules", "none"], p=[0.45, 0.25, 0.3])
    if kind == "none":
        return np.ones(size, np.float32)
    spacing = max(4.0, min(size) * rng.uniform(0.016, 0.03))
    rows, columns = (int(length / spacing) + 1 for length in size)
    seeds = (np.mgrid[:rows, :columns] + rng.uniform(0.1, 0.9, (2, rows, columns))) * spacing
    points = np.ones(size, np.uint8)
    y, x = seeds.astype(int).reshape(2, -1)
    inside = (y < size[0]) & (x < size[1]) & (rng.random(x.size) < rng.uniform(0.6, 1))
    points[y[inside], x[inside]] = 0
    away = cv2.distanceTransform(points, cv2.DIST_L2, cv2.DIST_MASK_5) / spacing
    # Far from all seeds run the lines of the network, near them lie the globules.
    pattern = ramp(away, 0.15, 0.6) - 0.4 if kind == "network" else 0.8 * (0.35 - ramp(away, 0.2, 0.5))
    present = ramp(noise(rng, size, min(size) / 3), -0.8, 0.4)
    return 1 + rng.uniform(0.2, 0.75) * present * pattern * np.exp(0.3 * noise(rng, size, 3 * spacing))
