"""The only place that decides what a lesion pixel is.

A mask file is a gray picture, 0 = skin and 255 = lesion. A pixel belongs to the lesion where its
gray is above 128, which is the rule of the official scorer (isic-challenge-scoring, segmentation.py).
"""

from os import PathLike
from pathlib import Path

import cv2
import numpy as np

from lesionseg.errors import DataError

LESION_ABOVE = 128

# Masks are flat: without row filters they decode twice as fast. Level 9 would make files of 4 kB a third as large,
# and take nine times as long to write and twice as long to read.
_QUICK = (cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
# The marker of the first scan (ITU-T T.81, table B.1); no end mark can occur in the pixels by chance.
_JPEG_SCAN = 0xDA
_PNG_START = b"\x89PNG\r\n\x1a\n"
_UPRIGHT = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
# Cameras and web servers append bytes after the end of a file; a mask that was cut off has no end mark at all.
_TAIL = 4096


def lesion_pixels(gray: np.ndarray) -> np.ndarray:
    """Which pixels belong to the lesion.

    Args:
        gray: (H, W) uint8 gray, 0 = skin, 255 = lesion.

    Returns:
        (H, W) bool, True where the gray is above 128.
    """
    return gray > LESION_ABOVE


def check_not_truncated(data: bytes, name: str | PathLike) -> None:
    """Raise DataError where a PNG or JPEG file breaks off before its end mark.

    `cv2.imread` decodes such a file without complaint and fills the missing rows with gray or black.
    """
    tail = data[-_TAIL:]
    if (data.startswith(_PNG_START) and _PNG_END not in tail) or (
        data.startswith(_JPEG_START) and _JPEG_END not in tail and not _ends_after_scan(data)
    ):
        raise DataError(
            f"{name}: the file breaks off before its end, expected a whole picture. Copy or extract it again."
        )


def decode_picture(data: bytes, name: str | PathLike, flags: int) -> np.ndarray:
    """Decode a picture file with `cv2.imdecode`.

    Args:
        data: the bytes of the file.
        name: what an error calls it.
        flags: cv2.IMREAD_*.

    Raises:
        DataError: not a picture, or cut off.
    """
    check_not_truncated(data, name)
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        # The header speaks of more pixels than OpenCV allows.
        picture = None
    if picture is None:
        raise DataError(f"{name}: not a readable picture, expected a whole image file. Copy or extract it again.")
    return picture


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
    picture = decode_picture(data, name, _UPRIGHT if data.startswith(_JPEG_START) else cv2.IMREAD_UNCHANGED)
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


def _ends_after_scan(data: bytes) -> bool:
    """Whether the pixels of a JPEG file are followed by an end mark, that of a thumbnail in its header apart.

    Telephones append whole videos; the tail of such a file says nothing.
    """
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        if data[place + 1] == _JPEG_SCAN:
            return data.find(_JPEG_END, place) >= 0
        # Any number of fill bytes may precede a marker.
        is_fill = data[place + 1] == 0xFF
        place += 1 if is_fill else 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _gray_of_equal_channels(picture: np.ndarray, name: str | PathLike) -> np.ndarray:
    first, *others = cv2.split(picture)
    if len(others) == 3:
        alpha = others.pop()
        if alpha.min(initial=255) < 255:
            raise DataError(f"{name}: a mask with transparent pixels, expected opaque gray. Save it without alpha.")
    if any(not np.array_equal(first, other) for other in others):
        raise DataError(f"{name}: a coloured mask, expected gray 0 = skin and 255 = lesion. Convert it to gray.")
    return first
