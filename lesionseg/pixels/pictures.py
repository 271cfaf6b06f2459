"""Bytes of a picture file -> its size and pixels, and back: by OpenCV alone, so that both are of one opinion."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from os import PathLike

import cv2
import numpy as np

from lesionseg.errors import DataError
from lesionseg.files import open_file, read_file
from lesionseg.pixels.headers import (
    JPEG_SCAN,
    JPEG_START,
    PNG_START,
    Data,
    foreign_format,
    is_lying,
    is_plain,
    jpeg_segments,
    png_is_whole,
    stored_size,
    without_profile,
)
from lesionseg.pixels.jpeg_scan import misses_scans, whole_scan
from lesionseg.pixels.pages import count_pages

JPEG_QUALITY = 95
# What tools take if they are not told otherwise (--max-pixels): as many pixels take 768 MiB, and three times as much
# while a lesion is looked for in them.
MAX_PIXELS = 2**28

# What OpenCV allows (CV_IO_MAX_IMAGE_PIXELS, CV_IO_MAX_IMAGE_WIDTH).
_OPENCV_PIXELS, _OPENCV_EDGE = 2**30, 2**20
# OpenCV 4.13 moved the functions of its log here.
_OPENCV_LOG, _SILENT = getattr(cv2.utils, "logging", cv2), 0
_JPEG_END = b"\xff\xd9"
# Cameras and web servers append bytes after the end of a file.
_TAIL = 4096
_REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
# Bits of a camera's pixels, which it stores in numbers of 16.
_DEPTHS = (8, 10, 12, 14, 16)


def picture_size(path: str | PathLike) -> tuple[int, int]:
    """Read the (height, width) of a picture file in pixels, as `decode_image` turns it.

    JPEG and PNG files are not decoded, and hardly more than their headers is read.

    Raises:
        DataError: not a regular file, not a picture, or cut off.
        OSError: the file cannot be read.
    """
    with open_file(path) as file:
        try:
            data = mmap(file.fileno(), 0, access=ACCESS_READ)
        except ValueError:
            # It is empty, or on a file system without.
            return encoded_size(file.read(), path)
        with data:
            return encoded_size(data, path)


def encoded_size(data: Data, name: str | PathLike) -> tuple[int, int]:
    """Read a picture's upright (height, width) from the bytes of its file; see `picture_size`."""
    if not is_plain(data):
        return decode_image(data[:], name).shape[:2]
    check_not_truncated(data, name)
    _check_one_page(data, name)
    if misses_scans(data):
        raise _damaged(name)
    size = stored_size(data)
    if size is None:
        raise _unreadable(data, name)
    return size[::-1] if is_lying(data) else size


def decode_image(data: bytes, name: str | PathLike, max_pixels: int | None = None, reduction: int = 1) -> np.ndarray:
    """Decode a picture upright, as its EXIF orientation says, the way `cv2.imread` and MMCV do.

    Cameras of 10, 12 or 14 bits store them in 16; such pictures, which would be almost black, use all 8 bits here.

    Args:
        data: the bytes of a picture file.
        name: what an error calls the file.
        max_pixels: see `decode_picture`.
        reduction: 1, 2, 4 or 8, by which both edges become shorter.

    Returns:
        (H, W, 3) uint8, channels blue, green, red.

    Raises:
        DataError: as from `decode_picture`.
    """
    flags = _REDUCED[reduction]
    if data[:2] == JPEG_START:
        return decode_picture(data, name, flags, max_pixels)
    picture = decode_picture(data, name, flags | cv2.IMREAD_ANYDEPTH, max_pixels)
    if picture.dtype == np.uint8:
        return picture
    if picture.dtype != np.uint16:
        raise _unreadable(data, name)
    largest = int(picture.max(initial=0))
    bits = next(depth for depth in _DEPTHS if largest < 1 << depth)
    return (picture >> (bits - 8)).astype(np.uint8)


def read_image(path: str | PathLike, max_pixels: int | None = None) -> np.ndarray:
    """Read a picture file; see `decode_image`.

    Raises:
        DataError: not a regular file, or as from `decode_picture`.
        OSError: the file cannot be read.
    """
    return decode_image(read_file(path), path, max_pixels)


@contextmanager
def quiet_opencv(threads: int | None = None) -> Iterator[None]:
    """Leave it to us to name broken files, and keep OpenCV to so many threads in each of ours, if that is given."""
    usual, level = cv2.getNumThreads(), _OPENCV_LOG.getLogLevel()
    _OPENCV_LOG.setLogLevel(_SILENT)
    if threads is not None:
        cv2.setNumThreads(threads)
    try:
        yield
    finally:
        cv2.setNumThreads(usual)
        _OPENCV_LOG.setLogLevel(level)


def encode_jpeg(image: np.ndarray, quality: int = JPEG_QUALITY) -> bytes:
    """Encode (H, W, 3) uint8 BGR as a JPEG file."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def encode_png(image: np.ndarray) -> bytes:
    """Encode (H, W) or (H, W, 3) uint8 or uint16, gray or BGR, as a PNG file."""
    done, data = cv2.imencode(".png", image)
    assert done
    return data.tobytes()


def data_url(data: bytes, kind: str) -> str:
    """Bytes of a file of a kind, such as `image/png`, as the address of a picture that a page holds itself."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def check_not_truncated(data: Data, name: str | PathLike) -> None:
    """Raise DataError where a PNG or JPEG file breaks off before its end mark.

    `cv2.imread` decodes such a file without complaint and fills the missing rows with gray or black.
    """
    if (data[:8] == PNG_START and not png_is_whole(data)) or (
        data[:2] == JPEG_START and _JPEG_END not in data[-_TAIL:] and not _ends_after_scan(data)
    ):
        raise DataError(
            f"{name}: the file breaks off before its end, expected a whole picture. Copy or extract it again."
        )


def decode_picture(data: bytes, name: str | PathLike, flags: int, max_pixels: int | None = None) -> np.ndarray:
    """Decode a picture file with `cv2.imdecode`.

    Args:
        data: the bytes of the file.
        name: what an error calls it.
        flags: cv2.IMREAD_*.
        max_pixels: how many are decoded at most; None for as many as OpenCV can.

    Raises:
        DataError: not a picture, cut off, of several pages, pixels are missing in a JPEG file, too large, or larger
            than the memory.
    """
    check_not_truncated(data, name)
    _check_one_page(data, name)
    size = stored_size(data)
    if size:
        _check_size(*size, name, max_pixels)
    encoded = whole_scan(without_profile(data))
    try:
        picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    except (cv2.error, MemoryError) as error:
        if size and (isinstance(error, MemoryError) or error.code == cv2.Error.StsNoMem):
            raise DataError(
                f"{name}: {size[1]}x{size[0]} pixels are more than the free memory holds, expected fewer. Shrink the "
                "picture, or end other programs."
            ) from error
        picture = None
    if picture is None and encoded is not data and data[:2] == JPEG_START:
        raise _damaged(name)
    if picture is None:
        raise _unreadable(data, name)
    if not size:
        _check_size(picture.shape[0], picture.shape[1], name, max_pixels)
    return picture


def _check_one_page(data: Data, name: str | PathLike) -> None:
    """Raise DataError where a file holds more than one picture."""
    if (pages := count_pages(data)) > 1:
        raise DataError(
            f"{name}: {pages} pages or frames, expected a single picture. Save the one that is meant as a file of its "
            "own."
        )


def _check_size(height: int, width: int, name: str | PathLike, most: int | None) -> None:
    fact = f"{name}: {width}x{height} pixels, {height * width} in all, expected"
    if height * width > _OPENCV_PIXELS or max(height, width) > _OPENCV_EDGE:
        raise DataError(f"{fact} at most {_OPENCV_PIXELS}, and {_OPENCV_EDGE} an edge. Shrink the picture.")
    if most is not None and height * width > most:
        raise DataError(f"{fact} at most {most}. Shrink the picture, or allow it with --max-pixels {height * width}.")


def _damaged(name: str | PathLike) -> DataError:
    return DataError(
        f"{name}: pixels are missing or damaged in its middle, expected a whole picture. Copy or extract it again."
    )


def _unreadable(data: Data, name: str | PathLike) -> DataError:
    if known := foreign_format(data):
        kind, step = known
        return DataError(f"{name}: {kind} by its content, expected a picture such as JPEG or PNG. {step}")
    if not is_plain(data) and (found := _try_unchanged(data)) is not None:
        return DataError(
            f"{name}: a picture of type {found.dtype}, expected 8 or 16 bits a channel. Save it as an 8-bit PNG."
        )
    return DataError(f"{name}: not a readable picture, expected a whole image file. Copy or extract it again.")


def _try_unchanged(data: Data) -> np.ndarray | None:
    """Decode what OpenCV reads, and does not make a picture to look at: numbers of 32 bits."""
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, MemoryError):
        return None
    return None if picture is None or picture.dtype == np.uint8 else picture


def _ends_after_scan(data: Data) -> bool:
    """Whether the pixels of a JPEG file are followed by an end mark, that of a thumbnail in its header apart.

    Telephones append whole videos; the tail of such a file says nothing.
    """
    return any(marker == JPEG_SCAN and data.find(_JPEG_END, place) >= 0 for marker, place in jpeg_segments(data))
