"""The size of a picture from its header."""

from os import PathLike
from typing import BinaryIO

from PIL import Image

from lesionseg.errors import DataError

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
