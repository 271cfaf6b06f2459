"""Bytes of a picture file -> its size and pixels, and back."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from lesionseg.errors import DataError

JPEG_QUALITY = 95

_ORIENTATION_TAG = 0x0112
_LYING_ORIENTATIONS = range(5, 9)

_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"
JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
# Markers of a JPEG file (ITU-T T.81, table B.1): frame headers, all but those that mean something else; EXIF's; the
# first scan, in whose pixels no end mark can occur by chance.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_APP1 = 0xE1
_JPEG_SCAN = 0xDA
# Cameras and web servers append bytes after the end of a file; a mask that was cut off has no end mark at all.
_TAIL = 4096


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


def check_not_truncated(data: bytes, name: str | PathLike) -> None:
    """Raise DataError where a PNG or JPEG file breaks off before its end mark.

    `cv2.imread` decodes such a file without complaint and fills the missing rows with gray or black.
    """
    tail = data[-_TAIL:]
    if (data.startswith(_PNG_START) and _PNG_END not in tail) or (
        data.startswith(JPEG_START) and _JPEG_END not in tail and not _ends_after_scan(data)
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


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Find the (height, width) of a plain JPEG file, ten times as fast as Pillow; None leaves it to Pillow.

    With an APP1 segment, the picture may have to be turned.
    """
    for marker, place in _jpeg_segments(data):
        if marker == _JPEG_APP1:
            return None
        if marker in _JPEG_FRAMES and place + 9 <= len(data):
            height, width = (int.from_bytes(data[at : at + 2], "big") for at in (place + 5, place + 7))
            return (height, width) if height and width else None
    return None


def _ends_after_scan(data: bytes) -> bool:
    """Whether the pixels of a JPEG file are followed by an end mark, that of a thumbnail in its header apart.

    Telephones append whole videos; the tail of such a file says nothing.
    """
    return any(marker == _JPEG_SCAN and data.find(_JPEG_END, place) >= 0 for marker, place in _jpeg_segments(data))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield marker and place of each segment of a JPEG file, up to its first scan; nothing for other files."""
    place = 2 if data.startswith(JPEG_START) else len(data)
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            # Any number of fill bytes may precede a marker.
            place += 1
            continue
        yield marker, place
        if marker == _JPEG_SCAN:
            return
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
