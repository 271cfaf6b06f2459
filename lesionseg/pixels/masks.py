"""The only place that decides what a lesion pixel is.

A mask file is a gray picture, 0 = skin and 255 = lesion. A pixel belongs to the lesion where its
gray is above 128, which is the rule of the official scorer (isic-challenge-scoring, segmentation.py).
"""

from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from lesionseg.errors import DataError
from lesionseg.pixels.pictures import JPEG_START, decode_picture

LESION_ABOVE = 128

# Masks are flat: without row filters they decode twice as fast. Level 9 would make files of 4 kB a third as large,
# and take nine times as long to write and twice as long to read.
_QUICK = (cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
_UPRIGHT = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH


def lesion_pixels(gray: np.ndarray) -> np.ndarray:
    """Which pixels belong to the lesion.

    Args:
        gray: (H, W) uint8 gray, 0 = skin, 255 = lesion.

    Returns:
        (H, W) bool, True where the gray is above 128.
    """
    return gray > LESION_ABOVE


def decode_mask(data: bytes, name: str | PathLike) -> np.ndarray:
    """Decode a mask file to the gray picture that a person sees.

    Gray, palette and 1-bit files and RGB files with equal channels are read; an alpha channel may be
    there as long as it is opaque everywhere.

    Args:
        data: the bytes of a picture file.
        name: what an error calls the file.

    Returns:
        (H, W) uint8 gray, 0 = skin, 255 = lesion.

    Raises:
        DataError: not a picture, cut off, coloured, transparent, not 8 bits deep, or class indices 0 and 1.
    """
    # IMREAD_UNCHANGED keeps alpha but ignores the EXIF orientation, which turns the image as well.
    picture = decode_picture(data, name, _UPRIGHT if data.startswith(JPEG_START) else cv2.IMREAD_UNCHANGED)
    if picture.dtype != np.uint8:
        raise DataError(
            f"{name}: a mask of type {picture.dtype}, expected 8-bit gray, 0 = skin and 255 = lesion. Save it as such."
        )
    gray = picture if picture.ndim == 2 else _gray_of_equal_channels(picture, name)
    if gray.max(initial=0) == 1:
        raise DataError(
            f"{name}: a mask of the values 0 and 1, expected gray 0 = skin and 255 = lesion. Multiply it by 255."
        )
    return gray


def read_mask(path: str | PathLike) -> np.ndarray:
    """Read a mask file; see `decode_mask`.

    Raises:
        FileNotFoundError, PermissionError: as from `open`.
        DataError: as from `decode_mask`.
    """
    return decode_mask(Path(path).read_bytes(), path)


def encode_mask(lesion: np.ndarray) -> bytes:
    """Encode a mask as an 8-bit gray PNG, 0 = skin and 255 = lesion, the form of a challenge submission.

    Args:
        lesion: (H, W) bool or {0, 1}.
    """
    done, data = cv2.imencode(".png", np.where(lesion, np.uint8(255), np.uint8(0)), _QUICK)
    assert done
    return data.tobytes()


def count_components(lesion: np.ndarray) -> int:
    """8-connected components of (H, W) uint8 in {0, 1}: the outlines that are not those of holes.

    Outlines are several times faster to find than labels, and only their number is asked for.
    """
    _, hierarchy = cv2.findContours(lesion, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return 0 if hierarchy is None else int(np.count_nonzero(hierarchy[0, :, 3] == -1))


def _gray_of_equal_channels(picture: np.ndarray, name: str | PathLike) -> np.ndarray:
    first, *others = cv2.split(picture)
    if len(others) == 3:
        alpha = others.pop()
        if alpha.min(initial=255) < 255:
            raise DataError(f"{name}: a mask with transparent pixels, expected opaque gray. Save it without alpha.")
    if any(not np.array_equal(first, other) for other in others):
        raise DataError(f"{name}: a coloured mask, expected gray 0 = skin and 255 = lesion. Convert it to gray.")
    return first
