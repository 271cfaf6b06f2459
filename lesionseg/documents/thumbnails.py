"""Small copies of images for a page, with outlines that stay sharp at every size."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike

import cv2
import numpy as np

from lesionseg.documents.page import text
from lesionseg.files import read_file
from lesionseg.pixels.outlines import find_outlines
from lesionseg.pixels.pictures import data_url, decode_image, encode_jpeg
from lesionseg.pixels.shrink import shrink_image

# Pixels of the longer edge where there are up to so many images: 1,000 take about 12 MB, and 5,000 twice as much.
_EDGES = ((1_500, 224), (5_000, 144))
# JPEG's; WebP files that look alike have half the bytes, and take fifty times as long to make.
_QUALITY = 80
# The longer edge in the units of outlines, and by how many of them these may be off; or by so much of a pixel of the
# mask, so that a small mask shows no steps.
_UNITS, _TOLERANCE, _STEP = 600, 0.9, 0.75


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of an image.

    Attributes:
        address: the picture itself, as the address of an `<img>`.
        width, height: of the image in the units of outlines.
        truth, prediction: SVG paths around both masks; "" without one.
    """

    address: str
    width: int
    height: int
    truth: str = ""
    prediction: str = ""

    def html(self, about: str) -> str:
        """Show it, both outlines over the image; `about` is for those who do not see it."""
        paths = "".join(
            f'<path class="{name}" d="{path}"/>'
            for name, path in (("truth", self.truth), ("prediction", self.prediction))
            if path
        )
        return (
            f'<div class="thumbnail"><img loading="lazy" decoding="async" width="{self.width}" height="{self.height}" '
            f'alt="{text(about)}" src="{self.address}">'
            f'<svg viewBox="0 0 {self.width} {self.height}" aria-hidden="true">{paths}</svg></div>'
        )


def thumbnail(image: np.ndarray, masks: Mapping[str, np.ndarray], images: int = 1) -> Thumbnail:
    """Make a small copy of an image.

    Args:
        image: (H, W, 3) uint8 BGR.
        masks: by `truth` and `prediction`, (h, w) bool of the same picture in any size.
        images: how many the page shows: of many, each is smaller.
    """
    height, width = image.shape[:2]
    scale = min(1, _edge(images) / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    data = encode_jpeg(shrink_image(image, size), _QUALITY)
    units = _UNITS / max(height, width)
    paths = {name: _path(mask, units * max(height, width) / max(mask.shape)) for name, mask in masks.items()}
    return Thumbnail(data_url(data, "image/jpeg"), max(1, round(width * units)), max(1, round(height * units)), **paths)


def read_small(path: str | PathLike, shape: tuple[int, int], images: int = 1) -> np.ndarray:
    """Read an image for a thumbnail: of a large JPEG file, only as much as is needed for that.

    Args:
        path: of the picture.
        shape: its (height, width).
        images: as `thumbnail` takes it.

    Returns:
        (h, w, 3) uint8 BGR, of the edges up to an eighth.

    Raises:
        DataError, OSError: as from `lesionseg.pixels.pictures.read_image`.
    """
    reduction = next(each for each in (8, 4, 2, 1) if each == 1 or max(shape) >= each * _edge(images))
    return decode_image(read_file(path), path, reduction=reduction)


def _edge(images: int) -> int:
    return next((edge for most, edge in _EDGES if images <= most), _EDGES[-1][1])


def _path(mask: np.ndarray, scale: float) -> str:
    """An SVG path around (H, W) bool, with as few points as look alike; from the middles of pixels."""
    path = ""
    for outline in find_outlines(mask):
        points = cv2.approxPolyDP(outline, max(_TOLERANCE / scale, _STEP), closed=True)[:, 0]
        scaled = np.rint((points + 0.5) * scale).astype(int)
        path += "M" + " ".join(f"{x} {y}" for x, y in scaled.tolist()) + "z"
    return path
