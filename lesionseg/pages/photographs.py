"""Picture files as pages read and show them."""

from os import PathLike

import numpy as np

from lesionseg.errors import DataError
from lesionseg.pixels.pictures import data_url, encode_jpeg, picture_size, read_image

# Pixels of a working copy's longer edge: what a screen shows, and a browser draws on without delay.
LONGEST_EDGE = 1024
# The largest cameras give half as many; a page holds a photograph and what is found in it in memory.
MOST_PIXELS = 2**28


def read_photograph(path: str | PathLike) -> np.ndarray:
    """Read a picture file, (H, W, 3) uint8 BGR.

    Raises:
        DataError: no picture, or one of more than `MOST_PIXELS`.
        OSError: the file cannot be read.
    """
    height, width = picture_size(path)
    if height * width > MOST_PIXELS:
        raise DataError(f"{path}: {width}x{height} pixels, expected {MOST_PIXELS} at most. Shrink the picture.")
    return read_image(path)


def working_size(height: int, width: int) -> tuple[int, int]:
    """The (width, height) of the working copy of an image; nothing is ever enlarged.

    Example:
        >>> working_size(1536, 2048)
        (1024, 768)
    """
    scale = min(1, LONGEST_EDGE / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def jpeg_url(image: np.ndarray) -> str:
    """(H, W, 3) uint8 BGR as the address of a picture that a page holds itself."""
    return data_url(encode_jpeg(image), "image/jpeg")
