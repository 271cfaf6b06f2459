"""Sizes, decoding and shrinking of images, and of masks in step with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from lesionseg.data.masks import decode_picture
from lesionseg.errors import DataError

JPEG_QUALITY = 95

_ORIENTATION_TAG = 0x0112
_LYING_ORIENTATIONS = range(5, 9)

# Markers of a JPEG file (ITU-T T.81, table B.1): frame headers, all but those that mean something else, and EXIF's.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_APP1 = 0xE1


def picture_size(file: str | PathLike | BinaryIO, name: str | PathLike) -> tuple[int, int]:
    """Read a picture's (height, width) in pixels without decoding it, turned as its EXIF tag says.

    Args:
        file: a path, or an open binary file.
        name: what an error calls the file.

    Raises:
        DataError: not a picture.
    """
    # Not needed to decode pictures, and so not to predict with an exported model.
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION_TAG) in _LYING_ORIENTATIONS
    except UnidentifiedImageError as error:
        raise DataError(f"{name}: not a readable picture, expected an image. Copy or extract it again.") from error
    return (width, height) if turned else (height, width)


def encoded_size(data: bytes, name: str | PathLike) -> tuple[int, int]:
    """Read a picture's upright (height, width) from the bytes of its file; see `picture_size`."""
    return _jpeg_size(data) or picture_size(BytesIO(data), name)


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


@contextmanager
def quiet_opencv(threads: int | None = None) -> Iterator[None]:
    """Leave it to us to name broken files, and keep OpenCV to so many threads in each of ours, if that is given."""
    usual, level = cv2.getNumThreads(), cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if threads is not None:
        cv2.setNumThreads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(usual)
        cv2.utils.logging.setLogLevel(level)


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
    decoding. So images are halved while they stay at least as large as `size`, without an odd last row or column;
    against one step, that changes ISIC images by about half a gray level, and moves no pixel by a whole one.
    """
    width, height = size
    while image.shape[0] // 2 >= height and image.shape[1] // 2 >= width:
        half_height, half_width = image.shape[0] // 2, image.shape[1] // 2
        even = image[: 2 * half_height, : 2 * half_width]
        image = cv2.resize(even, (half_width, half_height), interpolation=cv2.INTER_AREA)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def shrink_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink (H, W) uint8 to `size`, (width, height), by the nearest pixel, so that no new values appear.

    cv2.INTER_NEAREST takes the corner of each area in place of its middle, which moves the mask by half
    a pixel of the result against its image (https://github.com/opencv/opencv/issues/9096).
    """
    return cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Find the (height, width) of a plain JPEG file, ten times as fast as Pillow; None leaves it to Pillow.

    With an APP1 segment, the picture may have to be turned.
    """
    place = 2 if data.startswith(b"\xff\xd8") else len(data)
    while place + 9 <= len(data) and data[place] == 0xFF and data[place + 1] != _JPEG_APP1:
        if data[place + 1] in _JPEG_FRAMES:
            height, width = (int.from_bytes(data[at : at + 2], "big") for at in (place + 5, place + 7))
            return (height, width) if height and width else None
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None
