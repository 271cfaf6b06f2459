"""Turns a release, or any images with masks, into a data set folder, and that into a Hugging Face data set."""

import filecmp
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from lesionseg.cli import check_exists
from lesionseg.data.names import MASK_ENDING
from lesionseg.data.release.data_set_folder import GROUPS, audit_of, read_groups_of
from lesionseg.data.release.layouts import DATA_SET, HUGGING_FACE, ISIC, MARKED, PAIRS
from lesionseg.data.release.layouts.data_set import find_data_set
from lesionseg.data.release.layouts.hugging_face import find_hugging_face
from lesionseg.data.release.layouts.isic import find_release
from lesionseg.data.release.layouts.marked import THRESHOLDS, find_marked
from lesionseg.data.release.layouts.pairs import find_pairs
from lesionseg.data.release.listing import SPLITS, UNLABELLED, Listing
from lesionseg.data.release.splits import add_groups, note_shared_groups, random_splits, with_validation
from lesionseg.data.sources import list_files
from lesionseg.errors import DataError, first_names
from lesionseg.files import clear_scratch, scratch_folder


@dataclass(frozen=True)
class Conversion:
    """What to convert, and how; see `tools/convert_isic.py --help`.

    Attributes:
        raw: the folder that holds the release or the pictures.
        out: the data set folder to make.
        layout: one of those in `lesionseg.data.release.layouts`.
        year: of a release.
        splits: the only ones to take; None for all that are there.
        images, masks, mask_suffix: of any images and masks, or of photographs as taken and as marked.
        allow_unlabelled: whether images may be without a mask; they go to images/unlabelled.
        threshold, fill_outlines: of marked photographs, as `lesionseg.pixels.marking.Marking` takes them; findings that
            `threshold` does not name have those of `lesionseg.data.release.layouts.marked`.
        split: split -> its share of the images; None leaves the splits as they are.
        validation: the share of the training images that becomes the validation, where there is none.
        seed: of a random split.
        group_csv, group_column: of which images belong together, in a random split and in index.csv.
        short_edge: pixels that larger training images are shrunk to; None leaves them as they are.
        workers: how many threads work; None for one a core.
        overwrite: whether an earlier data set folder may be replaced.
        link: whether files are hard-linked in place of being copied.
        foreground, background: what is lesion in the masks and what is not, as `lesionseg.pixels.foreground.Marks`
            reads it; None for the gray of the challenges.
        inverted: whether skin and lesion are the other way round in the masks; None where that is not known.
        max_pixels: of a picture; None for `lesionseg.pixels.pictures.MAX_PIXELS`.
    """

    raw: Path
    out: Path
    layout: str = ISIC
    year: int | None = None
    splits: Sequence[str] | None = None
    images: str | None = None
    masks: str | None = None
    mask_suffix: str = MASK_ENDING
    allow_unlabelled: bool = False
    threshold: Mapping[str, int | None] = field(default_factory=dict)
    fill_outlines: bool = False
    split: Mapping[str, Fraction] | None = None
    validation: Fraction | None = None
    seed: int = 0
    group_csv: Path | None = None
    group_column: str | None = None
    short_edge: int | None = None
    workers: int | None = None
    overwrite: bool = False
    link: bool = False
    foreground: str | None = None
    background: str | None = None
    inverted: bool | None = None
    max_pixels: int | None = None


def run_conversion(job: Conversion) -> None:
    """Convert, and tell what was made, and what is odd about it.

    Raises:
        DataError: all faults of the input, or the output is in the way; nothing is written then.
        OSError: a folder cannot be read or written.
    """
    with _listed(job) as listing:
        _convert(listing, job)


def run_to_hugging_face(job: Conversion) -> None:
    """Write a data set folder as a Hugging Face data set, and tell what was made.

    Raises:
        DataError: all faults of the folder, or the output is in the way; nothing is written then.
        OSError: a folder cannot be read or written.
    """
    check_exists(job.raw, "a data set folder")
    with _listed(job) as listing:
        from lesionseg.data.release.hugging_face import write_hugging_face
        from lesionseg.pixels.pictures import MAX_PIXELS

        _print_notes(listing)
        made = write_hugging_face(listing, job.out, job.workers, job.overwrite, job.max_pixels or MAX_PIXELS)
        print(f"Made {job.out}: {', '.join(f'{count} {split}' for split, count in made.items())}")


def _convert(listing: Listing, job: Conversion) -> None:
    # After the input was looked at: a wrong path is told before OpenCV is loaded.
    from lesionseg.commands.look import PAGE, SAMPLE, look_at, look_page
    from lesionseg.data.release.convert import convert
    from lesionseg.data.release.convert_image import Reading
    from lesionseg.documents.page import write_page
    from lesionseg.pixels.foreground import Foreground, Marks
    from lesionseg.pixels.marking import Marking
    from lesionseg.pixels.pictures import MAX_PIXELS

    _print_notes(listing)
    lesion, other = (None if text is None else Marks.parse(text) for text in (job.foreground, job.background))
    marking = None
    if job.layout == MARKED:
        # A threshold without a name is that of all others.
        thresholds = job.threshold if "" in job.threshold else {**THRESHOLDS, **job.threshold}
        marking = Marking(thresholds, job.fill_outlines)
    reading = Reading(
        Foreground(lesion, other) if lesion else None, job.inverted, job.max_pixels or MAX_PIXELS, marking
    )

    def look(folder: Path) -> None:
        write_page(folder / PAGE, lambda: look_page(job.out, look_at(folder, SAMPLE, job.workers)))

    audit = audit_of(job.out)
    if audit and job.group_csv and filecmp.cmp(job.group_csv, audit / GROUPS, shallow=False):
        # What it found stands in index.csv then.
        audit = None
    made = convert(listing, job.out, job.short_edge, job.workers, job.overwrite, job.link, reading, look)
    for warning in made.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if audit:
        print(
            f"note: {audit} was of the data set that was here before, and went with it. Look for twins anew: "
            f"tools/audit.py {shlex.join(map(str, (job.out, '--out', audit)))}",
            file=sys.stderr,
        )
    pairs = ", ".join(f"{count} {split}" for split, count in made.pairs.items())
    files = ", ".join(f"{count} {how}" for how, count in made.files.items())
    if (job.out / PAGE).is_file():
        print(f"Look at it before you train: {job.out / PAGE}")
    print(f"Made {job.out}: {pairs} (files: {files})")


def _print_notes(listing: Listing) -> None:
    for note in listing.notes:
        print(f"note: {note}", file=sys.stderr)


@contextmanager
def _listed(job: Conversion) -> Iterator[Listing]:
    """List the pairs, with new splits where they are asked for; while the block runs they can be read."""
    with ExitStack() as stack:
        listing = _list(job, stack)
        if job.splits and job.layout != ISIC:
            there = sorted({pair.split for pair in listing.pairs}, key=SPLITS.index)
            listing.pairs = [pair for pair in listing.pairs if pair.split in job.splits]
            if there and not listing.pairs:
                raise DataError(
                    f"{job.raw}: all images are in {' and '.join(there)}, expected some in {' or '.join(job.splits)}. "
                    "Choose others with --splits, or leave it out."
                )
        if job.group_csv:
            add_groups(listing, job.group_csv, job.group_column)
        if job.split:
            official = sorted({pair.split for pair in listing.pairs})
            if len(official) > 1 and not job.splits:
                raise DataError(
                    f"{job.raw}: --split would mix its official splits {', '.join(official)}, expected one of them. "
                    "Choose it with --splits, or name there those that shall be mixed."
                )
            listing.pairs = random_splits(listing.pairs, job.split, job.seed)
        else:
            if job.validation and listing.pairs:
                listing.pairs = with_validation(listing.pairs, job.validation, job.seed)
            note_shared_groups(listing)
        yield listing


def _list(job: Conversion, stack: ExitStack) -> Listing:
    if job.layout == PAIRS:
        return find_pairs(job.raw, job.images, job.masks, job.mask_suffix, job.allow_unlabelled)
    if job.layout == MARKED:
        listing = find_marked(job.raw, job.images, job.masks, job.mask_suffix)
        findings = sorted({pair.finding.lower() for pair in listing.pairs} - {""})
        if unknown := job.threshold.keys() - THRESHOLDS.keys() - set(findings):
            listing.faults.append(
                f"--threshold: no photograph shows {first_names(sorted(unknown))}, expected findings of {job.raw} "
                f"({first_names(findings) or 'none'}). Correct the name."
            )
        return listing
    if job.layout == DATA_SET:
        listing = find_data_set(job.raw)
        listing.set_groups(read_groups_of(job.raw))
        unlabelled = job.raw / "images" / UNLABELLED
        if left := list_files(unlabelled) if unlabelled.is_dir() else []:
            listing.notes.append(f"{unlabelled}: left out {len(left)} files, which have no mask")
        return listing
    if job.layout == HUGGING_FACE:
        check_exists(job.raw, "a Hugging Face data set")
        # On the disk of the output: the library unpacks all data in it.
        if job.out.parent.is_dir():
            clear_scratch(job.out.parent, job.out.name)
        cache = stack.enter_context(scratch_folder(job.out.parent, f"{job.out.name}.")) / job.out.name
        return find_hugging_face(job.raw, cache, job.max_pixels)
    return find_release(job.raw, job.year, job.splits)
