"""A release, or any folders of images and masks, becomes a data set folder.

Every file is decoded once: that one pass checks it, measures it and writes it into a folder aside, which
is dropped where a fault was found.
"""

import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from lesionseg.data.names import LONGEST_NAME, is_too_long, with_finding
from lesionseg.data.release.convert_image import Job, Reading, Result, convert_image, link_file, place_unlabelled
from lesionseg.data.release.data_set_folder import Record, check_apart, mask_path, whole_folder, write_lists
from lesionseg.data.release.listing import UNLABELLED, Found, Listing, Pair
from lesionseg.errors import DataError, first_names
from lesionseg.files import clone_file, written_path
from lesionseg.pixels.pictures import quiet_opencv
from lesionseg.workers import map_files


@dataclass(frozen=True)
class Made:
    """What a conversion has made.

    Attributes:
        pairs: split -> how many pairs of an image and a mask; and how many images without one are `unlabelled`.
        files: "copied", "hard-linked", "unpacked", "shrunk" or "rewritten" -> how many files.
        warnings: what is odd about the data though not wrong, a line each.
    """

    pairs: dict[str, int]
    files: dict[str, int]
    warnings: list[str]


def convert(
    listing: Listing,
    out: Path,
    short_edge: int | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    link: bool = False,
    reading: Reading | None = None,
    look: Callable[[Path], None] | None = None,
) -> Made:
    """Write the pairs of a listing as a data set folder, whole or not at all.

    Masks that come from marked photographs get a contact sheet, marks.jpg.

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
        reading: how the pictures are read; None for the masks of the challenges.
        look: is called with the folder when all is in it, before it gets its place, and may add to it.

    Raises:
        DataError: all faults of the listing and of the pictures, or `out` is in the way.
        OSError: `out` cannot be written.

    Example:
        >>> from lesionseg.data.release.layouts.pairs import find_pairs
        >>> listing = find_pairs(Path("data/raw/mine"), "photos", "outlines", mask_suffix="_lesion")
        >>> convert(listing, Path("data/NEW"), short_edge=512).pairs
        {'training': 2}
    """
    reading = reading or Reading()
    out = written_path(out)
    check_apart(listing.roots, out)
    _check_lengths(listing)
    with whole_folder(out, overwrite) as folder, quiet_opencv(threads=1):
        jobs = [
            Job(
                list(pairs),
                short_edge if split == "training" else None,
                None if listing.faults else folder,
                link,
                reading,
            )
            for (split, _), pairs in groupby(listing.pairs, lambda pair: (pair.split, pair.id))
        ]
        target = None if listing.faults else folder
        if target:
            _check_space(jobs, out, folder)
            _make_folders(folder, listing.pairs, listing.unlabelled)
        results = list(map_files(convert_image, jobs, "converting", workers))
        place = partial(place_unlabelled, folder=target, link=link, reading=reading)
        placed = list(map_files(place, listing.unlabelled, "copying images without masks", workers))
        faults = [*listing.faults, *fault_lines([*results, *placed], listing)] or _odd_wholes(results, listing, reading)
        if faults:
            raise DataError(*faults)
        records = [record for result in results for record in result.records]
        write_lists(folder, records)
        if reading.marking:
            # Matplotlib is slow to load, and no other layout needs it.
            from lesionseg.data.release.marks_sheet import SHEET, marks_sheet

            (folder / SHEET).write_bytes(marks_sheet(listing.pairs, reading, workers))
        if look:
            look(folder)
    unlabelled = {UNLABELLED: len(placed)} if placed else {}
    return Made(
        dict(Counter(record.split for record in records)) | unlabelled,
        dict(Counter(file for result in [*results, *placed] for file in result.files)),
        _warnings(out, records, reading.marking is not None),
    )


def _check_lengths(listing: Listing) -> None:
    ids = [*(pair.id for pair in listing.pairs), *(found.id for found in listing.unlabelled)]
    # A mask may get a longer ending than it has.
    if long := [id[:50] for id in ids if is_too_long(f"{id}.tiff")]:
        raise DataError(
            f"{listing.roots[0]}: {len(long)} of {len(ids)} names are too long ({first_names(long)}), expected at "
            f"most {LONGEST_NAME} bytes with ending, {LONGEST_NAME - 5} without. Shorten them."
        )


def _check_space(jobs: Sequence[Job], out: Path, folder: Path) -> None:
    """Raise DataError where what takes space would not fit on the disk."""
    parts = {source.part for job in jobs for source in job.sources}
    shared = {part for part in parts if part.is_dir() and _shares_blocks(jobs, part, folder)}
    needed = 0
    for job in jobs:
        for source in job.sources:
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


def _shares_blocks(jobs: Sequence[Job], part: Path, folder: Path) -> bool:
    """Whether the files of a part take no space in the folder: tried with the first of them."""
    path = next(source.path for job in jobs for source in job.sources if source.part == part)
    # A folder that rows are read from has no such files.
    if path is None:
        return False
    tried = folder / "tried"
    try:
        return (jobs[0].link and link_file(path, tried)) or clone_file(path, tried)
    except (OSError, DataError):
        # A file that cannot be read is told later, with its name.
        return False
    finally:
        tried.unlink(missing_ok=True)


def _make_folders(folder: Path, pairs: Sequence[Pair], unlabelled: Sequence[Found]) -> None:
    images = {Path("images", pair.split, pair.id).parent for pair in pairs}
    images |= {Path("images", UNLABELLED, found.id).parent for found in unlabelled}
    for path in images | {Path(mask_path(pair.split, pair.finding, pair.id)).parent for pair in pairs}:
        (folder / path).mkdir(parents=True, exist_ok=True)


def fault_lines(results: Sequence[Result], listing: Listing) -> list[str]:
    """Tell what is wrong with the files of a listing, a line for each kind of fault in a part."""
    totals = Counter(source.part for pair in listing.pairs for source in (pair.image, pair.mask))
    totals.update(found.source.part for found in listing.unlabelled)
    names = defaultdict(list)
    for fault in (fault for result in results for fault in result.faults):
        names[fault.part, fault.fact, fault.expectation].append(fault.name)
    return [
        f"{part}: {len(wrong)} of {totals[part]} files: {fact} ({first_names(wrong)}), expected {expectation}"
        for (part, fact, expectation), wrong in names.items()
    ]


def _odd_wholes(results: Sequence[Result], listing: Listing, reading: Reading) -> list[str]:
    """Faults of masks that are right one by one and cannot be right together."""
    where = ", ".join(dict.fromkeys(str(pair.mask.part) for pair in listing.pairs))
    measured = [
        (with_finding(record.id, record.finding), record, border)
        for result in results
        for record, border in zip(result.records, result.border_shares, strict=True)
    ]
    if reading.foreground and not any(record.components for _, record, _ in measured):
        return [
            f"{where}: none of the {len(measured)} masks holds {reading.foreground.lesion}, expected a lesion in most. "
            "Choose another --foreground."
        ]
    # A mask of lesion all over says nothing: inverted, it would be one without a lesion.
    shares = {name: border for name, record, border in measured if record.lesion_share < 1}
    odd = [name for name, share in shares.items() if share > 0.5]
    if reading.inverted is None and not reading.marking and len(odd) > len(shares) / 2:
        advice = "if black is the lesion, pass --inverted; if white is, --no-inverted."
        if reading.foreground:
            advice = "if that is right, pass --no-inverted; if not, choose another --foreground."
        return [
            f"{where}: {len(odd)} of {len(measured)} masks are lesion along most of their border ({first_names(odd)}), "
            f"expected skin there in most. Look at some of them: {advice}"
        ]
    return []


def _warnings(out: Path, records: Sequence[Record], marked: bool) -> list[str]:
    kinds = {
        "hold no lesion": [record for record in records if record.lesion_share == 0],
        "are lesion all over": [record for record in records if record.lesion_share == 1],
        # Between two different photographs it would be much, too.
        "are lesion on more than half of the picture": [
            record for record in records if marked and record.lesion_share > 0.5
        ],
    }
    return [
        f"{out}: {len(odd)} masks {what} ({first_names([with_finding(record.id, record.finding) for record in odd])})"
        for what, odd in kinds.items()
        if odd
    ]
