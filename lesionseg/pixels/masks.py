"""The only place that decides what a lesion pixel is.

A mask file is a gray picture, 0 = skin and 255 = lesion. A pixel belongs to the lesion where its
gray is above 128, which is the rule of the official scorer (isic-challenge-scoring, segmentation.py).
"""

from os import PathLike

import cv2
import numpy as np

from lesionseg.errors import DataError
from lesionseg.files import read_file
from lesionseg.pixels.foreground import (
    ALPHA,
    MOST_LISTED,
    Foreground,
    Marks,
    decode_unchanged,
    describe_values,
    is_gray,
    palette_indices,
    values_of,
)
from lesionseg.pixels.headers import JPEG_START
from lesionseg.pixels.pictures import encode_png

LESION_ABOVE = 128
# In JPEG files, grays swing to both sides of an edge: up to 128 and these, none was meant to be white.
_NO_WHITE = LESION_ABOVE + 32

# Masks are flat: without row filters they decode twice as fast. Level 9 would make files of 4 kB a third as large,
# and take nine times as long to write and twice as long to read.
_QUICK = (cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
_EXPECTED = "expected gray 0 = skin and 255 = lesion"
_SAVE = "Save it with the lesion white and all else black."


def lesion_pixels(gray: np.ndarray) -> np.ndarray:
    """Which pixels belong to the lesion.

    Args:
        gray: (H, W) uint8 gray, 0 = skin, 255 = lesion.

    Returns:
        (H, W) bool, True where the gray is above 128.
    """
    return gray > LESION_ABOVE


def decode_mask(
    data: bytes, name: str | PathLike, max_pixels: int | None = None, foreground: Foreground | None = None
) -> np.ndarray:
    """Decode a mask file to the gray picture that a person sees.

    Gray, palette and 1-bit files and RGB files with equal channels are read; an alpha channel may be
    there as long as it is opaque everywhere.

    Args:
        data: the bytes of a picture file.
        name: what an error calls the file.
        max_pixels: see `lesionseg.pixels.pictures.decode_picture`.
        foreground: what is lesion in the file, where that is something else than what is above 128.

    Returns:
        (H, W) uint8 gray, 0 = skin, 255 = lesion.

    Raises:
        DataError: not a picture, cut off or too large; or, without `foreground`, coloured, transparent, not 8 bits
            deep, or of few values that are all on one side of 128, such as class indices.
    """
    if foreground is not None:
        return foreground.find(data, name, max_pixels).view(np.uint8) * np.uint8(255)
    picture = decode_unchanged(data, name, max_pixels)
    if picture.dtype != np.uint8:
        # Colours are told by 8 bits a channel.
        coloured = picture.ndim == 3 and not is_gray(picture)
        held, step = ("colours", _SAVE) if coloured else (describe_values(picture), _advice(picture, data))
        fact = f"a mask of type {picture.dtype} with {held}, expected 8-bit gray"
        raise DataError(f"{name}: {fact}, 0 = skin and 255 = lesion. {step}")
    if picture.ndim == 3 and picture.shape[2] == 4 and picture[..., 3].min(initial=255) < 255:
        raise DataError(
            f"{name}: a mask with transparent pixels, expected opaque gray. Say what is lesion in converting "
            f"(tools/convert_isic.py): --foreground {ALPHA} for what is opaque, or a value or a colour."
        )
    if picture.ndim == 3 and not is_gray(picture):
        few = len(values_of(picture)[1]) <= MOST_LISTED
        fact = f"a coloured mask{f' of {describe_values(picture, palette_indices(data))}' if few else ''}"
        raise DataError(f"{name}: {fact}, {_EXPECTED}. {_advice(picture, data)}")
    gray = picture if picture.ndim == 2 else picture[..., 0].copy()
    _check_grays(gray, data, name)
    return gray


def _check_grays(gray: np.ndarray, data: bytes, name: str | PathLike) -> None:
    """Raise DataError where grays are numbers of classes and no shades: few, and none or all of them lesion."""
    darkest, lightest = int(gray.min(initial=255)), int(gray.max(initial=0))
    if data.startswith(JPEG_START) and 0 < lightest <= _NO_WHITE:
        values = np.unique(gray)
        if len(values) > MOST_LISTED:
            # Compression has made shades of two values; that of the lesion is the most frequent of the lighter half.
            likely = lightest // 2 + 1 + int(np.bincount(gray.ravel())[lightest // 2 + 1 :].argmax())
            raise DataError(
                f"{name}: a mask of grays up to {lightest}, none of them white, {_EXPECTED}. If about {likely} is "
                f"lesion, convert with tools/convert_isic.py --foreground {likely}."
            )
    if lightest == 0 or darkest <= LESION_ABOVE < lightest or darkest == lightest > LESION_ABOVE:
        return
    values = np.unique(gray)
    if len(values) > (MOST_LISTED if lightest <= LESION_ABOVE else 2):
        return
    side = "none above" if lightest <= LESION_ABOVE else "all above"
    indices = palette_indices(data)
    shown = "" if indices is None else f", shown as gray {' and '.join(map(str, values))}"
    fact = f"a mask of {describe_values(gray, indices)}{shown}, {side} {LESION_ABOVE}"
    raise DataError(f"{name}: {fact}, {_EXPECTED}. {_advice(gray, data)}")


def _advice(picture: np.ndarray, data: bytes) -> str:
    """How to say what is lesion in such a mask."""
    _, values = values_of(picture, palette_indices(data))
    # No --foreground can name 0.5 or 70000.
    if len(values) > MOST_LISTED or not _is_mark(values[-1]):
        return _SAVE
    # To a shell, what begins with # is a comment.
    value = f"'{values[-1]}'" if isinstance(values[-1], str) else values[-1]
    others = "" if len(values) <= 2 else ", or several with commas"
    return f"If {values[-1]} is lesion, convert with tools/convert_isic.py --foreground {value}{others}."


def _is_mark(value: object) -> bool:
    try:
        return bool(Marks.parse(str(value)))
    except ValueError:
        return False


def read_mask(path: str | PathLike) -> np.ndarray:
    """Read a mask file; see `decode_mask`.

    Raises:
        FileNotFoundError, PermissionError: as from `open`.
        DataError: no regular file, or as from `decode_mask`.
    """
    return decode_mask(read_file(path), path)


def encode_mask(lesion: np.ndarray) -> bytes:
    """Encode a mask as an 8-bit gray PNG, 0 = skin and 255 = lesion, the form of a challenge submission.

    Args:
        lesion: (H, W) bool or {0, 1}.
    """
    done, data = cv2.imencode(".png", np.where(lesion, np.uint8(255), np.uint8(0)), _QUICK)
    assert done
    return data.tobytes()


def encode_probability(probability: np.ndarray) -> bytes:
    """Encode a soft mask as an 8-bit gray PNG, 0 = surely skin and 255 = surely lesion.

    Gray is 255 times the probability. Next to one half it is rounded to the side that the probability is on, so that
    gray above 128, which is what a lesion pixel is in a mask file, are exactly the probabilities above 0.5.

    Args:
        probability: (H, W) float32, 0..1.
    """
    gray = cv2.convertScaleAbs(probability, alpha=255)
    lesion = probability > 0.5
    np.maximum(gray, LESION_ABOVE + 1, out=gray, where=lesion)
    np.minimum(gray, LESION_ABOVE, out=gray, where=~lesion)
    return encode_png(gray)


def count_components(lesion: np.ndarray) -> int:
    """8-connected components of (H, W) uint8 in {0, 1}: the outlines that are not those of holes.

    Outlines are several times faster to find than labels, and only their number is asked for.
    """
    _, hierarchy = cv2.findContours(lesion, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return 0 if hierarchy is None else int(np.count_nonzero(hierarchy[0, :, 3] == -1))


def border_share(lesion: np.ndarray) -> float:
    """The share of the outermost pixels of (H, W) bool that are lesion, 0..1."""
    border = np.concatenate([lesion[0], lesion[-1], lesion[:, 0], lesion[:, -1]])
    return float(border.mean())
