"""What of a mask file is lesion, where that is not what is lighter than gray 128: values, colours or alpha.

Whoever converts such masks says it once (`tools/convert_isic.py --foreground`); what is read without being told is an
error of `lesionseg.pixels.masks`, which names what stands in the file and the words that mend it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from os import PathLike

import cv2
import numpy as np

from lesionseg.errors import DataError
from lesionseg.pixels.headers import JPEG_START, PNG_START
from lesionseg.pixels.pictures import decode_picture

ALPHA = "alpha"
# Files of more values are shades or photographs, which no list of them describes.
MOST_LISTED = 16
_LARGEST_VALUE = 2**16 - 1
_OPAQUE_ABOVE = 128


@dataclass(frozen=True)
class Marks:
    """Values and colours of pixels.

    Attributes:
        values: grays; in a palette file indices.
        colours: red, green and blue, 0..255.
        alpha: whether opaque pixels are meant.
    """

    values: frozenset[int] = frozenset()
    colours: frozenset[tuple[int, int, int]] = frozenset()
    alpha: bool = False

    @classmethod
    def parse(cls, text: str) -> "Marks":
        """Read a list such as `1`, `1,3-5`, `#800000`, `red` or `alpha`.

        Raises:
            ValueError: it is none; the text says why.
        """
        values: set[int] = set()
        colours = set()
        words = [word.strip() for word in text.split(",")]
        for word in words:
            if numbers := re.fullmatch("([0-9]{1,5})(?:-([0-9]{1,5}))?", word):
                first, last = int(numbers[1]), int(numbers[2] or numbers[1])
                if not first <= last <= _LARGEST_VALUE:
                    raise ValueError(f"{word}, expected values from 0 to {_LARGEST_VALUE}")
                values.update(range(first, last + 1))
            elif word != ALPHA:
                colours.add(_colour(word))
        if ALPHA in words and len(words) > 1:
            raise ValueError(f"{text!r}, expected {ALPHA} alone")
        return cls(frozenset(values), frozenset(colours), ALPHA in words)

    def __str__(self) -> str:
        names = [*map(str, sorted(self.values)), *map(colour_name, sorted(self.colours))]
        return ",".join([*names, *[ALPHA] * self.alpha])


@dataclass(frozen=True)
class Foreground:
    """What is lesion in masks that do not show it in white.

    Attributes:
        lesion: what is lesion.
        background: what is not. A mask that holds no lesion must hold nothing else, so that a value that was forgotten
            does not become skin; None for black, or white where black is the lesion.
    """

    lesion: Marks
    background: Marks | None = None

    def __post_init__(self) -> None:
        """Raises ValueError: the background says nothing, or contradicts."""
        if self.background is None:
            return
        if self.lesion.alpha or self.background.alpha:
            raise ValueError(f"{self.background}, expected none where {ALPHA} tells the lesion, nor {ALPHA} itself")
        if self.lesion.values & self.background.values or self.lesion.colours & self.background.colours:
            raise ValueError(f"{self.background}, expected nothing of what is lesion, {self.lesion}")

    def find(self, data: bytes, name: str | PathLike, max_pixels: int | None = None) -> np.ndarray:
        """Find the lesion in a mask file.

        Args:
            data: the bytes of a picture file.
            name: what an error calls the file.
            max_pixels: see `lesionseg.pixels.pictures.decode_picture`.

        Returns:
            (H, W) bool.

        Raises:
            DataError: not a picture, or one that holds something else than lesion and background.
        """
        picture = decode_unchanged(data, name, max_pixels)
        if self.lesion.alpha:
            return self._opaque(picture, name)
        indices = palette_indices(data)
        if indices is not None and indices.shape != picture.shape[:2]:
            raise DataError(f"{name}: a palette file with an orientation, expected it upright. Save it turned.")
        background = self.background or _contrary(self.lesion)
        if data.startswith(JPEG_START):
            # Its values are not exact, so each pixel goes to what is nearer.
            colours = _three_channels(picture).astype(np.int16)
            return _distance(colours, self.lesion) < _distance(colours, background)
        lesion = _matches(picture, indices, self.lesion)
        if not lesion.any() and not _is_even(picture) and not _matches(picture, indices, background).all():
            raise DataError(
                f"{name}: a mask of {describe_values(picture, indices)}, expected {self.lesion} or only background "
                f"({background}). Add what is lesion to --foreground, and what is not to --background."
            )
        return lesion

    def _opaque(self, picture: np.ndarray, name: str | PathLike) -> np.ndarray:
        if picture.ndim != 3 or picture.shape[2] != 4:
            raise DataError(
                f"{name}: a mask without alpha, expected one whose lesion is opaque. Choose another --foreground."
            )
        return picture[..., 3] > _OPAQUE_ABOVE


def decode_unchanged(data: bytes, name: str | PathLike, max_pixels: int | None = None) -> np.ndarray:
    """Decode a picture file upright with its own depth and channels, alpha included.

    Returns:
        (H, W), (H, W, 3) or (H, W, 4) of any type, channels blue, green, red, alpha.
    """
    # OpenCV keeps alpha or turns the picture, never both; JPEG files have no alpha.
    upright = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    if data.startswith(JPEG_START):
        return decode_picture(data, name, upright, max_pixels)
    picture = decode_picture(data, name, cv2.IMREAD_UNCHANGED, max_pixels)
    if not _may_be_turned(data):
        return picture
    turned = decode_picture(data, name, upright, max_pixels)
    return next((way for way in _ways_to_turn(picture) if _is_same(way, turned)), picture)


def palette_indices(data: bytes) -> np.ndarray | None:
    """The indices of a palette file, (H, W) uint8; None for other files."""
    from PIL import Image

    # OpenCV has decoded the file by now, within the limit that the user knows of.
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(BytesIO(data)) as picture:
            return np.array(picture) if picture.mode == "P" else None
    except (OSError, ValueError, SyntaxError):
        # What OpenCV reads and Pillow does not has no palette.
        return None


def values_of(picture: np.ndarray, indices: np.ndarray | None = None) -> tuple[str, list]:
    """What a mask holds: the word for it, and its values in the words that `Marks.parse` reads, black first."""
    if indices is not None:
        return "palette indices", np.unique(indices).tolist()
    if picture.ndim == 2 or is_gray(picture):
        values = np.unique(picture if picture.ndim == 2 else picture[..., 0]).tolist()
        # Pictures of float32 hold 255.0, which the file's user calls 255.
        return "values", [int(value) if value % 1 == 0 else value for value in values]
    return "colours", [colour_name(colour) for colour in colours_of(picture)]


def describe_values(picture: np.ndarray, indices: np.ndarray | None = None) -> str:
    """Say what values a mask holds: `the values 0 and 38`."""
    word, values = values_of(picture, indices)
    if len(values) > MOST_LISTED:
        return f"{len(values)} {word}"
    return f"the {word} {_listed(values)}"


def colours_of(picture: np.ndarray) -> list[tuple[int, int, int]]:
    """The colours of (H, W, 3 or 4) uint8 BGR as red, green and blue, black first."""
    packed = picture[..., 2].astype(np.uint32) << 16 | picture[..., 1].astype(np.uint32) << 8 | picture[..., 0]
    return [(colour >> 16, colour >> 8 & 255, colour & 255) for colour in np.unique(packed).tolist()]


def colour_name(colour: tuple[int, int, int]) -> str:
    """A colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def is_gray(picture: np.ndarray) -> bool:
    """Whether the colours of (H, W, 3 or 4) are all gray."""
    blue, green, red = (picture[..., channel] for channel in range(3))
    return np.array_equal(blue, green) and np.array_equal(blue, red)


def _may_be_turned(data: bytes) -> bool:
    """Whether a file has EXIF that `cv2.IMREAD_UNCHANGED` passes over; it turns TIFF files in any case."""
    return (data.startswith(PNG_START) and b"eXIf" in data) or (data.startswith(b"RIFF") and b"EXIF" in data)


def _ways_to_turn(picture: np.ndarray) -> Iterator[np.ndarray]:
    """The eight orientations of a picture."""
    for flipped in (picture, picture[:, ::-1]):
        for quarters in range(4):
            yield np.ascontiguousarray(np.rot90(flipped, quarters))


def _is_same(picture: np.ndarray, other: np.ndarray) -> bool:
    if picture.shape[:2] != other.shape[:2]:
        return False
    return np.array_equal(_three_channels(picture), _three_channels(other))


def _colour(word: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        return ImageColor.getrgb(word)[:3]
    except ValueError:
        raise ValueError(f"{word!r}, expected a value such as 1, a colour such as #ff0000 or red, or {ALPHA}") from None


def _contrary(lesion: Marks) -> Marks:
    black = 0 in lesion.values or (0, 0, 0) in lesion.colours
    return Marks(frozenset({255}), frozenset({(255,) * 3})) if black else Marks(frozenset({0}), frozenset({(0,) * 3}))


def _matches(picture: np.ndarray, indices: np.ndarray | None, marks: Marks) -> np.ndarray:
    found = np.zeros(picture.shape[:2], bool)
    values = indices
    if values is None:
        values = picture if picture.ndim == 2 else picture[..., 0] if is_gray(picture) else None
    if marks.values and values is not None:
        found |= np.isin(values, list(marks.values))
    for colour in marks.colours:
        found |= (_three_channels(picture) == colour[::-1]).all(axis=2)
    return found


def _distance(picture: np.ndarray, marks: Marks) -> np.ndarray:
    """How far each pixel of (H, W, 3) int16 BGR is from the nearest of the marks, (H, W) int16."""
    colours = [*[(value,) * 3 for value in marks.values], *marks.colours]
    return np.min([np.abs(picture - np.array(colour[::-1], np.int16)).max(axis=2) for colour in colours], axis=0)


def _three_channels(picture: np.ndarray) -> np.ndarray:
    return cv2.merge([picture] * 3) if picture.ndim == 2 else picture[..., :3]


def _is_even(picture: np.ndarray) -> bool:
    return bool((picture == picture[0, 0]).all())


def _listed(values: Sequence) -> str:
    first, last = ", ".join(map(str, values[:-1])), values[-1]
    return f"{first} and {last}" if first else f"{last} alone"
