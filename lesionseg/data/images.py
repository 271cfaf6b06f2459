"""Sizes, decoding and shrinking of images, and of masks in step with them."""

from os import PathLike
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image

from lesionseg.data.masks import decode_picture
from lesionseg.errors import DataError

JPEG_QUALITY = 95

_ORIENTATION_TAG = 0x0112
_LYING_ORIENTATIONS = range(5, 9)


def picture_size(file: str | PathLike | BinaryIO, name: str | PathLike) -> tuple[int, int]:
    """Read a picture's (height, width) in pixels without decoding it, turned as its EXIF tag says.

    Args:
        file: a path, or an open binary file.
        name: what an error calls the file.

    Raises:
        DataError: not a picture.
    """
    try:
        with Image.open(file) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION_TAG) in _LYING_ORIENTATIONS
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name}: not a readable picture, expected an image. Copy or extract it again.") from error
    return (width, height) if turned else (height, width)


def decode_image(data: bytes, name: str | PathLike) -> np.ndarray:
    """Decode a picture upright, as its EXIF orientation says, the way `cv2.imread` and MMCV do.

    Args:
        data: the bytes of a picture file.
        name: what an error calls the file.

    Returns:
        (H, W, 3) uint8, channels blue, green, red.

    Raises:
        DataError: not a picture, or cut off.
    """
    return decode_picture(data, name, cv2.IMREAD_COLOR)


def read_image(path: str | PathLike) -> np.ndarray:
    """Read a picture file; see `decode_image`."""
    return decode_image(Path(path).read_bytes(), path)


def encode_jpeg(image: np.ndarray) -> bytes:
    """Encode (H, W, 3) uint8 BGR as a JPEG file of quality 95."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done
    return data.tobytes()


def shrunk_size(width: int, height: int, short_edge: int) -> tuple[int, int]:
    """The (width, height) that brings the shorter edge down to `short_edge`; nothing is ever enlarged."""
    scale = min(1, short_edge / min(width, height))
    return round(width * scale), round(height * scale)


def shrink_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink (H, W, 3) uint8 to `size`, (width, height), by area interpolation.

    OpenCV averages areas of 2 x 2 pixels several times faster than any other, and shrinking takes as long as
    decoding. So images are halved while they stay at least as large as `size`; against one step, that
    changes ISIC images by about half a gray level.
    """
    width, height = size
    while (
        not (image.shape[0] % 2 or image.shape[1] % 2) and image.shape[0] >= 2 * height and image.shape[1] >= 2 * width
    ):
        image = cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def shrink_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink (H, W) uint8 to `size`, (width, height), by the nearest pixel, so that no new values appear.

    cv2.INTER_NEAREST takes the corner of each area in place of its middle, which moves the mask by half
    a pixel of the result against its image (https://github.com/opencv/opencv/issues/9096).
    """
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
