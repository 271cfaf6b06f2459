"""One image and its masks on their way into a data set folder: read, checked, measured and written."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from lesionseg.data.names import usual_suffix
from lesionseg.data.release.data_set_folder import Record, mask_path
from lesionseg.data.release.listing import UNLABELLED, Found, Pair
from lesionseg.data.sources import Source
from lesionseg.errors import DataError
from lesionseg.files import clone_file
from lesionseg.pixels.foreground import Foreground
from lesionseg.pixels.marking import Marking
from lesionseg.pixels.masks import border_share, count_components, decode_mask, encode_mask, lesion_pixels
from lesionseg.pixels.pictures import MAX_PIXELS, decode_image, encode_jpeg
from lesionseg.pixels.shrink import shrink_image, shrink_mask, shrunk_size

# No picture needs more: four channels of 16 bits, not compressed.
_MOST_BYTES_A_PIXEL = 8
# And besides, previews, colour profiles and the videos that telephones append.
_MOST_BYTES_BESIDES = 2**26


@dataclass(frozen=True)
class Reading:
    """How the pictures of an input are read.

    Attributes:
        foreground: what is lesion in the masks, where that is something else than what is above 128.
        inverted: whether skin and lesion are the other way round; None where nobody has said so yet.
        max_pixels: of a picture; a larger one is a fault.
        marking: how a mask is found, where the masks of the input are photographs with marks; else None.
    """

    foreground: Foreground | None = None
    inverted: bool | None = None
    max_pixels: int = MAX_PIXELS
    marking: Marking | None = None

    def decode_image(self, data: bytes, name: str) -> np.ndarray:
        """Decode an image or a marked photograph; see `lesionseg.pixels.pictures.decode_image`."""
        return decode_image(data, name, self.max_pixels)


@dataclass(frozen=True)
class Fault:
    """What is wrong with one file or pair; faults of the same part, fact and expectation are told in one line."""

    part: Path
    fact: str
    expectation: str
    name: str


@dataclass(frozen=True)
class Result:
    """What became of one image: faults, or of each mask a record and the share of its border, and of each file how."""

    records: tuple[Record, ...] = ()
    border_shares: tuple[float, ...] = ()
    files: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Job:
    """The pairs of one image to check, and to write below `folder` unless that is None.

    Attributes:
        pairs: one, or one for each finding; each may name an image of its own, which then has to show the same.
        short_edge: pixels that a larger image is shrunk to; None leaves it as it is.
        folder: the data set folder.
        link: whether files are hard-linked in place of being copied.
        reading: how the pictures are read.
    """

    pairs: Sequence[Pair]
    short_edge: int | None
    folder: Path | None
    link: bool
    reading: Reading

    @property
    def sources(self) -> list[Source]:
        """The files that are written."""
        return [self.pairs[0].image, *(pair.mask for pair in self.pairs)]


def convert_image(job: Job) -> Result:
    """Convert one image; from any thread.

    Raises:
        OSError: a file cannot be written.
    """
    return _within_memory(partial(_try_image, job), job.pairs[0].image)


def _within_memory(convert: Callable[[], Result], image: Source) -> Result:
    """Convert an image; what the memory does not hold is a fault of it."""
    try:
        return convert()
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        expectation = "fewer pixels. Convert with --workers 1, shrink the picture, or end other programs."
        return Result(faults=(Fault(image.part, "more than the free memory holds", expectation, image.name),))


def place_unlabelled(found: Found, folder: Path | None, link: bool, reading: Reading) -> Result:
    """Check an image without masks, and put it into the data set folder as it is; from any thread.

    Args:
        found: the image.
        folder: the data set folder; None checks only.
        link: whether the file is hard-linked in place of being copied.
        reading: how the picture is read.

    Raises:
        OSError: the file cannot be written.
    """

    def place() -> Result:
        faults: list[Fault] = []
        data, image = _decode(found.source, reading.decode_image, reading.max_pixels, faults)
        if image is None or folder is None:
            return Result(faults=tuple(faults))
        path = folder / "images" / UNLABELLED / f"{found.id}{usual_suffix(found.source.name)}"
        return Result(files=(_place(found.source, data, path, link),))

    return _within_memory(place, found.source)


def _try_image(job: Job) -> Result:
    pair, reading = job.pairs[0], job.reading
    faults: list[Fault] = []
    image_data, image = _decode(pair.image, reading.decode_image, reading.max_pixels, faults)
    masks = []
    for each in job.pairs:
        if image is not None and each.image != pair.image:
            _check_same(each, pair, image_data, image, reading, faults)
        masks.append(_read_mask(each, image, reading, faults))
    if faults:
        return Result(faults=tuple(faults))
    assert image is not None
    height, width = image.shape[:2]
    size = shrunk_size(width, height, job.short_edge) if job.short_edge else (width, height)
    shrinks = size != (width, height)
    image_path = f"images/{pair.split}/{pair.id}{'.jpg' if shrinks else usual_suffix(pair.image.name)}"
    files = []
    if job.folder is not None:
        if shrinks:
            write(job.folder / image_path, encode_jpeg(shrink_image(image, size)))
            files.append("shrunk")
        else:
            files.append(_place(pair.image, image_data, job.folder / image_path, job.link))
    records = []
    for each, (data, lesion) in zip(job.pairs, masks, strict=True):
        record = Record(
            id=each.id,
            split=each.split,
            image=image_path,
            mask=mask_path(each.split, each.finding, each.id),
            width=width,
            height=height,
            lesion_share=cv2.countNonZero(lesion) / lesion.size,
            components=count_components(lesion),
            finding=each.finding,
            group=each.group,
        )
        records.append(record)
        if job.folder is None:
            continue
        if shrinks:
            write(job.folder / record.mask, encode_mask(shrink_mask(lesion, size)))
            files.append("shrunk")
        elif data is not None:
            files.append(_place(each.mask, data, job.folder / record.mask, job.link))
        else:
            write(job.folder / record.mask, encode_mask(lesion))
            files.append("rewritten")
    return Result(tuple(records), tuple(border_share(lesion > 0) for _, lesion in masks), tuple(files))


def _read_mask(
    pair: Pair, image: np.ndarray | None, reading: Reading, faults: list[Fault]
) -> tuple[bytes | None, np.ndarray]:
    """Read the mask of a pair.

    Returns:
        The bytes of its file where they may stay as they are, else None; and (H, W) uint8 in {0, 1}. What they are
        does not matter where a fault was found.
    """
    decode: Callable[[bytes, str], np.ndarray] = reading.decode_image
    if not reading.marking:
        decode = partial(decode_mask, max_pixels=reading.max_pixels, foreground=reading.foreground)
    data, picture = _decode(pair.mask, decode, reading.max_pixels, faults)
    if image is not None and picture is not None and image.shape[:2] != picture.shape[:2]:
        faults.append(_size_fault(pair, image, picture, "marked photograph" if reading.marking else "mask"))
    elif image is not None and picture is not None and reading.marking:
        try:
            return None, reading.marking.find(image, picture, pair.finding, pair.mask.name).lesion.view(np.uint8)
        except DataError as error:
            faults.append(_fault(pair.mask, error))
    elif picture is not None:
        lesion = (lesion_pixels(picture) ^ bool(reading.inverted)).view(np.uint8)
        stays = not reading.foreground and not reading.inverted and _is_plain(data, picture)
        return data if stays else None, lesion
    return None, np.zeros((0, 0), np.uint8)


def _check_same(pair: Pair, first: Pair, data: bytes, image: np.ndarray, reading: Reading, faults: list[Fault]) -> None:
    """Add a fault where the image of a pair is another than that of the first of its id."""
    other_data, other = _decode(pair.image, reading.decode_image, reading.max_pixels, faults)
    if other is None or other_data == data or np.array_equal(other, image):
        return
    expectation = "the same photograph for every finding. Give different photographs different ids."
    name = f"{pair.image.name} and {first.image.name}"
    faults.append(Fault(pair.image.part, "two photographs have one id and do not show the same", expectation, name))


def _decode(
    source: Source, decode: Callable[[bytes, str], np.ndarray], max_pixels: int, faults: list[Fault]
) -> tuple[bytes, np.ndarray | None]:
    try:
        data = source.read(_MOST_BYTES_A_PIXEL * max_pixels + _MOST_BYTES_BESIDES)
        return data, decode(data, source.name)
    except DataError as error:
        faults.append(_fault(source, error))
        return b"", None


def _fault(source: Source, error: DataError) -> Fault:
    fact, _, expectation = str(error).removeprefix(f"{source.name}: ").partition(", expected ")
    return Fault(source.part, fact, expectation, source.name)


def _size_fault(pair: Pair, image: np.ndarray, picture: np.ndarray, kind: str) -> Fault:
    (height, width), (mask_height, mask_width) = image.shape[:2], picture.shape[:2]
    if (height, width) == (mask_width, mask_height):
        fact = "width and height are the other way round than in the image"
        expectation = "masks of the image as its EXIF orientation turns it. Turn the masks, or remove the orientation."
    else:
        fact = f"the {kind} has another size than its image"
        expectation = "the same width and height. Check that they belong together."
    return Fault(pair.mask.part, fact, expectation, f"{pair.id}: {mask_width}x{mask_height}, image {width}x{height}")


def _is_plain(data: bytes, gray: np.ndarray) -> bool:
    """Whether a mask file is already an 8-bit gray PNG of 0 and 255."""
    depth_and_color_type = data[24:26]
    return data.startswith(b"\x89PNG") and depth_and_color_type == b"\x08\x00" and not cv2.inRange(gray, 1, 254).any()


def _place(source: Source, data: bytes, path: Path, link: bool) -> str:
    """Put a file there as it is, and say how."""
    if source.path is None:
        write(path, data)
        return "unpacked"
    if link and link_file(source.path, path):
        return "hard-linked"
    if not clone_file(source.path, path):
        write(path, data)
    return "copied"


def link_file(source: Path, path: Path) -> bool:
    """Hard-link a file; not on another disk, on a file system without hard links, or of files of another user."""
    try:
        # Of a symbolic link, os.link would link the link itself, which may point astray from there.
        os.link(source.resolve(), path)
    except OSError:
        return False
    return True


def write(path: Path, data: bytes) -> None:
    """Write a new file."""
    # Fails where the disk does not tell apart two ids, such as a and A, in place of losing one.
    with path.open("xb") as file:
        file.write(data)
