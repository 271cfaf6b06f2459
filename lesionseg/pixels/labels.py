"""Pictures of class indices, 0 = background, as other projects exchange masks of several classes."""

from collections.abc import Collection
from os import PathLike

import numpy as np

from lesionseg.errors import DataError
from lesionseg.pixels.foreground import decode_unchanged, describe_values, is_gray, palette_indices
from lesionseg.pixels.pictures import encode_png


def decode_labels(
    data: bytes, name: str | PathLike, classes: Collection[int], max_pixels: int | None = None
) -> np.ndarray:
    """Decode a picture of class indices: its grays, or of a palette file the indices.

    Args:
        data: the bytes of a picture file.
        name: what an error calls the file.
        classes: the indices that may be in it beside 0.
        max_pixels: see `lesionseg.pixels.pictures.decode_picture`.

    Returns:
        (H, W) uint8.

    Raises:
        DataError: not a picture, cut off or too large; coloured or not 8 bits deep; or with other values.
    """
    picture = decode_unchanged(data, name, max_pixels)
    indices = palette_indices(data)
    if indices is None and picture.ndim == 3 and is_gray(picture):
        indices = picture[..., 0]
    labels = picture if indices is None else indices
    expected = f"0 = background and {', '.join(map(str, sorted(classes)))} of its classes"
    if labels.ndim != 2 or labels.dtype != np.uint8:
        raise DataError(
            f"{name}: a label of type {labels.dtype} with {'colours' if labels.ndim == 3 else 'one channel'}, expected "
            f"8-bit gray, {expected}. Save class indices."
        )
    if not np.isin(labels, [0, *classes]).all():
        raise DataError(
            f"{name}: a label of {describe_values(labels)}, expected {expected}. Name or change the others."
        )
    return labels


def encode_labels(labels: np.ndarray) -> bytes:
    """Encode class indices, or numbers of instances, (H, W) uint8 or uint16, as a gray PNG of so many bits."""
    return encode_png(labels)
