"""A release, or any folders of images and masks, becomes a data set folder.

Every file is decoded once: that one pass checks it, measures it and writes it into a folder aside, which
is dropped where a fault was found.
"""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from lesionseg.data.names import LONGEST_NAME, is_too_long, usual_suffix
from lesionseg.data.release.data_set_folder import Record, whole_folder, write_lists
from lesionseg.data.release.listing import Listing, Pair
from lesionseg.data.sources import Source
from lesionseg.errors import DataError, first_names
from lesionseg.files import clone_file, real_path, written_path
from lesionseg.pixels.foreground import Foreground
from lesionseg.pixels.masks import border_share, count_components, decode_mask, encode_mask, lesion_pixels
from lesionseg.pixels.pictures import MAX_PIXELS, decode_image, encode_jpeg, quiet_opencv
from lesionseg.pixels.shrink import shrink_image, shrink_mask, shrunk_size
from lesionseg.workers import map_files

# No picture needs more: four channels of 16 bits, not compressed.
_MOST_BYTES_A_PIXEL = 8
# And besides, previews, colour profiles and the videos that telephones append.
_MOST_BYTES_BESIDES = 2**26


@dataclass(frozen=True)
class Made:
    """What a conversion has made.

    Attributes:
        pairs: split -> how many pairs.
        files: "copied", "hard-linked", "unpacked", "shrunk" or "rewritten" -> how many files.
        warnings: what is odd about the data though not wrong, a line each.
    """

    pairs: dict[str, int]
    files: dict[str, int]
    warnings: list[str]


@dataclass(frozen=True)
class Reading:
    """How the pictures of an input are read.

    Attributes:
        foreground: what is lesion in the masks, where that is something else than what is above 128.
        inverted: whether skin and lesion are the other way round; None where nobody has said so yet.
        max_pixels: of a picture; a larger one is a fault.
    """

    foreground: Foreground | None = None
    inverted: bool | None = None
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True)
class _Fault:
    """What is wrong with one file or pair; faults of the same part, fact and expectation are told in one line."""

    part: Path
    fact: str
    expectation: str
    name: str


@dataclass(frozen=True)
class _Result:
    """What became of one pair: a record, how much of the border is lesion, how its files were written; or faults."""

    record: Record | None = None
    border_share: float = 0
    files: tuple[str, ...] = ()
    faults: tuple[_Fault, ...] = ()


def convert(
    listing: Listing,
    out: Path,
    short_edge: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    link: bool = False,
    reading: Reading = Reading(),
) -> Made:
    """Write the pairs of a listing as a data set folder, whole or not at all.

    Files are copied, byte for byte, or hard-linked where that is wanted and possible. What is written anew: masks
    that are not 8-bit gray PNG files of 0 and 255, and training pairs that `short_edge` shrinks.

    Args:
        listing: what to convert.
        out: the folder to make.
        short_edge: pixels; larger training images are shrunk until their shorter edge has that length.
            Validation and test keep their size, so that scores count the pixels of the release.
        workers: how many threads work; by default one a core.
        overwrite: whether an earlier data set folder may be replaced.
        link: hard-link files in place of copying them: they stay the very files of the input, and editing them there
            or here changes both.
        reading: how the pictures are read.

    Raises:
        DataError: all faults of the listing and of the pictures, or `out` is in the way.
        OSError: `out` cannot be written.

    Example:
        >>> from lesionseg.data.release.layouts.pairs import find_pairs
        >>> listing = find_pairs(Path("data/raw/mine"), "photos", "outlines", mask_suffix="_lesion")
        >>> convert(listing, Path("data/NEW"), short_edge=512).pairs
        {'training': 2}
    """
    out = written_path(out)
    _check_apart(listing.roots, out)
    _check_lengths(listing.pairs)
    with whole_folder(out, overwrite) as folder, quiet_opencv(threads=1):
        jobs = [
            _Job(
                pair,
                short_edge if pair.split == "training" else None,
                None if listing.faults else folder,
                link,
                reading,
            )
            for pair in listing.pairs
        ]
        if not listing.faults:
            _check_space(jobs, out, folder)
            _make_folders(jobs)
        results = list(map_files(_convert_pair, jobs, "converting", workers))
        faults = [*listing.faults, *_fault_lines(results, listing.pairs)] or _odd_wholes(results, listing, reading)
        if faults:
            raise DataError(*faults)
        records = [result.record for result in results if result.record]
        write_lists(folder, records)
    return Made(
        dict(Counter(record.split for record in records)),
        dict(Counter(file for result in results for file in result.files)),
        _warnings(out, records),
    )


@dataclass(frozen=True)
class _Job:
    """A pair to check, and to write below `folder` unless that is None."""

    pair: Pair
    short_edge: int | None
    folder: Path | None
    link: bool
    reading: Reading


def _convert_pair(job: _Job) -> _Result:
    try:
        return _try_pair(job)
    except (MemoryError, cv2.error) as error:
        if isinstance(error, cv2.error) and error.code != cv2.Error.StsNoMem:
            raise
        expectation = "fewer pixels. Convert with --workers 1, shrink the picture, or end other programs."
        fact = "more than the free memory holds"
        return _Result(faults=(_Fault(job.pair.image.part, fact, expectation, job.pair.image.name),))


def _try_pair(job: _Job) -> _Result:
    pair, reading = job.pair, job.reading
    faults: list[_Fault] = []
    decode_image_of = partial(decode_image, max_pixels=reading.max_pixels)
    decode_mask_of = partial(decode_mask, max_pixels=reading.max_pixels, foreground=reading.foreground)
    image_data, image = _decode(pair.image, decode_image_of, reading.max_pixels, faults)
    mask_data, gray = _decode(pair.mask, decode_mask_of, reading.max_pixels, faults)
    if image is not None and gray is not None and image.shape[:2] != gray.shape:
        faults.append(_size_fault(pair, image, gray))
    if faults:
        return _Result(faults=tuple(faults))
    assert image is not None
    assert gray is not None
    height, width = gray.shape
    lesion = (lesion_pixels(gray) ^ bool(reading.inverted)).view(np.uint8)
    border = border_share(lesion)
    size = shrunk_size(width, height, job.short_edge) if job.short_edge else (width, height)
    shrinks = size != (width, height)
    suffix = ".jpg" if shrinks else usual_suffix(pair.image.name)
    record = Record(
        id=pair.id,
        split=pair.split,
        image=f"images/{pair.split}/{pair.id}{suffix}",
        mask=f"annotations/{pair.split}/{pair.id}.png",
        width=width,
        height=height,
        lesion_share=cv2.countNonZero(lesion) / lesion.size,
        components=count_components(lesion),
    )
    if job.folder is None:
        return _Result(record, border)
    image_path, mask_path = job.folder / record.image, job.folder / record.mask
    if shrinks:
        _write(image_path, encode_jpeg(shrink_image(image, size)))
        _write(mask_path, encode_mask(shrink_mask(lesion, size)))
        return _Result(record, border, ("shrunk", "shrunk"))
    image_file = _place(pair.image, image_data, image_path, job.link)
    if not reading.foreground and not reading.inverted and _is_plain(mask_data, gray):
        return _Result(record, border, (image_file, _place(pair.mask, mask_data, mask_path, job.link)))
    _write(mask_path, encode_mask(lesion))
    return _Result(record, border, (image_file, "rewritten"))


def _decode(
    source: Source, decode: Callable[[bytes, str], np.ndarray], max_pixels: int, faults: list[_Fault]
) -> tuple[bytes, np.ndarray | None]:
    try:
        data = source.read(_MOST_BYTES_A_PIXEL * max_pixels + _MOST_BYTES_BESIDES)
        return data, decode(data, source.name)
    except DataError as error:
        fact, _, expectation = str(error).removeprefix(f"{source.name}: ").partition(", expected ")
        faults.append(_Fault(source.part, fact, expectation, source.name))
        return b"", None


def _size_fault(pair: Pair, image: np.ndarray, gray: np.ndarray) -> _Fault:
    (height, width), (mask_height, mask_width) = image.shape[:2], gray.shape
    if (height, width) == (mask_width, mask_height):
        fact = "width and height are the other way round than in the image"
        expectation = "masks of the image as its EXIF orientation turns it. Turn the masks, or remove the orientation."
    else:
        fact = "the mask has another size than its image"
        expectation = "the same width and height. Check that they belong together."
    return _Fault(pair.mask.part, fact, expectation, f"{pair.id}: {mask_width}x{mask_height}, image {width}x{height}")


def _is_plain(data: bytes, gray: np.ndarray) -> bool:
    """Whether a mask file is already an 8-bit gray PNG of 0 and 255."""
    depth_and_color_type = data[24:26]
    return data.startswith(b"\x89PNG") and depth_and_color_type == b"\x08\x00" and not cv2.inRange(gray, 1, 254).any()


def _place(source: Source, data: bytes, path: Path, link: bool) -> str:
    """Put a file there as it is, and say how."""
    if source.path is None:
        _write(path, data)
        return "unpacked"
    if link and _link(source.path, path):
        return "hard-linked"
    if not clone_file(source.path, path):
        _write(path, data)
    return "copied"


def _link(source: Path, path: Path) -> bool:
    """Hard-link a file; not on another disk, on a file system without hard links, or of files of another user."""
    try:
        # Of a symbolic link, os.link would link the link itself, which may point astray from there.
        os.link(source.resolve(), path)
    except OSError:
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    # Fails where the disk does not tell apart two ids, such as a and A, in place of losing one.
    with path.open("xb") as file:
        file.write(data)


def _check_apart(roots: Sequence[Path], out: Path) -> None:
    for root in roots:
        inside, outside = real_path(out), real_path(root)
        if inside.is_relative_to(outside) or outside.is_relative_to(inside):
            raise DataError(f"{out}: lies in {root} or around it, expected a folder apart. Choose another output.")


def _check_lengths(pairs: Sequence[Pair]) -> None:
    # A mask may get a longer ending than it has.
    if long := [pair.id[:50] for pair in pairs if is_too_long(f"{pair.id}.tiff")]:
        raise DataError(
            f"{pairs[0].image.part}: {len(long)} of {len(pairs)} names are too long ({first_names(long)}), expected at "
            f"most {LONGEST_NAME} bytes with ending, {LONGEST_NAME - 5} without. Shorten them."
        )


def _check_space(jobs: Sequence[_Job], out: Path, folder: Path) -> None:
    """Raise DataError where what takes space would not fit on the disk."""
    parts = {source.part for job in jobs for source in (job.pair.image, job.pair.mask)}
    shared = {part for part in parts if part.is_dir() and _shares_blocks(jobs, part, folder)}
    needed = 0
    for job in jobs:
        for source in (job.pair.image, job.pair.mask):
            if job.short_edge:
                # At quality 95 a JPEG has about one byte a pixel, and hardly an image is wider than 2:1.
                needed += min(source.size, 2 * job.short_edge**2)
            elif source.part not in shared:
                needed += source.size
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{out}: {free / 1e6:.0f} MB are free on its disk, expected about {needed / 1e6:.0f} MB. "
            "Free some space or choose another disk."
        )


def _shares_blocks(jobs: Sequence[_Job], part: Path, folder: Path) -> bool:
    """Whether the files of a part take no space in the folder: tried with the first of them."""
    path = next(source.path for job in jobs for source in (job.pair.image, job.pair.mask) if source.part == part)
    assert path is not None, part
    tried = folder / "tried"
    try:
        return (jobs[0].link and _link(path, tried)) or clone_file(path, tried)
    except (OSError, DataError):
        # A file that cannot be read is told later, with its name.
        return False
    finally:
        tried.unlink(missing_ok=True)


def _make_folders(jobs: Sequence[_Job]) -> None:
    for path in {Path(kind, job.pair.split, job.pair.id).parent for job in jobs for kind in ("images", "annotations")}:
        assert jobs[0].folder is not None
        (jobs[0].folder / path).mkdir(parents=True, exist_ok=True)


def _fault_lines(results: Sequence[_Result], pairs: Sequence[Pair]) -> list[str]:
    totals = Counter(source.part for pair in pairs for source in (pair.image, pair.mask))
    names = defaultdict(list)
    for fault in (fault for result in results for fault in result.faults):
        names[fault.part, fault.fact, fault.expectation].append(fault.name)
    return [
        f"{part}: {len(wrong)} of {totals[part]} files: {fact} ({first_names(wrong)}), expected {expectation}"
        for (part, fact, expectation), wrong in names.items()
    ]


def _odd_wholes(results: Sequence[_Result], listing: Listing, reading: Reading) -> list[str]:
    """Faults of masks that are right one by one and cannot be right together."""
    where = ", ".join(dict.fromkeys(str(pair.mask.part) for pair in listing.pairs))
    records = [result.record for result in results if result.record]
    if reading.foreground and not any(record.components for record in records):
        return [
            f"{where}: none of the {len(records)} masks holds {reading.foreground.lesion}, expected a lesion in most. "
            "Choose another --foreground."
        ]
    # A mask of lesion all over says nothing: inverted, it would be one without a lesion.
    shares = {
        result.record.id: result.border_share for result in results if result.record and result.record.lesion_share < 1
    }
    odd = [id for id, share in shares.items() if share > 0.5]
    if reading.inverted is None and len(odd) > len(shares) / 2:
        advice = "if black is the lesion, pass --inverted; if white is, --no-inverted."
        if reading.foreground:
            advice = "if that is right, pass --no-inverted; if not, choose another --foreground."
        return [
            f"{where}: {len(odd)} of {len(records)} masks are lesion along most of their border ({first_names(odd)}), "
            f"expected skin there in most. Look at some of them: {advice}"
        ]
    return []


def _warnings(out: Path, records: Sequence[Record]) -> list[str]:
    kinds = {
        "hold no lesion": [record.id for record in records if record.lesion_share == 0],
        "are lesion all over": [record.id for record in records if record.lesion_share == 1],
    }
    return [f"{out}: {len(ids)} masks {what} ({first_names(ids)})" for what, ids in kinds.items() if ids]
