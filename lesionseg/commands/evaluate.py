"""Scores folders of masks against true masks: no model, no config, nothing of OpenMMLab."""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from lesionseg.cli import check_folder, check_once
from lesionseg.data.scored_masks import Truth, match_ids, open_systems, open_truth
from lesionseg.errors import DataError, first_names
from lesionseg.files import folder_around, lock_folder, scratch_folder, write_bytes, write_text
from lesionseg.inference.inputs import find_inputs

if TYPE_CHECKING:
    from lesionseg.evaluation.results import ImageResult

DIFFERENCES, BY_FOLDER = "largest_differences.jpg", "by_folder.csv"


@dataclass(frozen=True)
class Job:
    """What to score; see `tools/evaluate.py --help`.

    Attributes:
        truth: a folder of true masks, an index.csv, or a data set folder.
        systems: folders of masks, each of another method or person; the others are compared with the first.
        out: where reports and comparison go.
        suffixes: what may follow an id in the names of masks, see `lesionseg.data.names.all_masks`.
        common: whether images that not all have are left out.
        images: a folder of images to draw the outlines on; None for those that go with the truth, if any.
        split: of a data set folder or an index.csv.
    """

    truth: Path
    systems: Sequence[Path]
    out: Path
    suffixes: Sequence[str] = ()
    common: bool = False
    images: Path | None = None
    split: str | None = None


def run_evaluation(job: Job) -> None:
    """Score, print the tables, and write what `tools/test.py` leaves for each system, and `tools/compare.py` for all.

    Raises:
        DataError: all faults of the names, or all of the files; nothing is written then.
        OSError: a folder cannot be read or written.
    """
    check_once(job.systems, "folder of masks")
    check_folder(job.out, "--out")
    truth = open_truth(job.truth, job.suffixes, job.split)
    masks, notes = open_systems(job.systems, job.suffixes)
    ids, left_out = match_ids(truth, masks, job.common)
    images = _find_images(truth, ids, job.images)
    # After the names were looked at: a wrong path is told before numpy is loaded.
    from lesionseg.documents.page import REPORT_PAGE
    from lesionseg.evaluation.compare import compare, read_tests, short_names
    from lesionseg.evaluation.compare_tables import comparison_text, write_comparison
    from lesionseg.evaluation.mask_scores import MaskSet, score_masks
    from lesionseg.evaluation.mask_tables import folder_grid, folder_rows, lesion_grid
    from lesionseg.tables import terminal_table

    names = short_names(job.systems)
    _check_out(job, truth, names)
    for note in (*truth.notes, *notes, *left_out):
        print(f"note: {note}", file=sys.stderr)
    sets = [MaskSet(id, truth.masks[id], tuple(found[id] for found in masks.values()), images.get(id)) for id in ids]
    tables = dict(zip(names, score_masks(sets), strict=True))
    rows = folder_rows(tables)
    with lock_folder(job.out, "evaluate"):
        _write(job, tables, rows)
        compared = compare(read_tests([job.out / name for name in names]))
        write_comparison(job.out, compared)
    width = get_terminal_size(fallback=(200, 24)).columns
    grids = [lesion_grid(tables), *([grid] if rows and (grid := folder_grid(rows)) else [])]
    print("\n\n".join([*(terminal_table(grid, width) for grid in grids), comparison_text(compared, width)]))
    made = [REPORT_PAGE, "comparison.md", "comparison.csv", "comparison.png"]
    made += [DIFFERENCES] * (len(names) > 1) + [BY_FOLDER] * bool(rows)
    print(
        f"scored {len(names)} folders of masks on {len(ids)} images; {', '.join(made)} are in {job.out}, the reports "
        f"in {first_names([str(job.out / name) for name in names])}"
    )


def _find_images(truth: Truth, ids: Sequence[str], folder: Path | None) -> Mapping[str, Path]:
    """Find the image of every id: called like it, or like it without its folders, as one image may have many findings.

    Raises:
        DataError: some have none.
    """
    folder = folder or (None if truth.images else truth.image_folder)
    if folder is None:
        return truth.images
    paths = {image.id: image.path for image in find_inputs([str(folder)]).images}
    times = Counter(PurePosixPath(id).name for id in paths)
    by_name = {name: path for id, path in paths.items() if times[name := PurePosixPath(id).name] == 1}
    found = {id: path for id in ids if (path := paths.get(id) or by_name.get(PurePosixPath(id).name))}
    if missing := [id for id in ids if id not in found]:
        raise DataError(
            f"{folder}: {len(missing)} of {len(ids)} masks have no image ({first_names(missing)}), expected <id>.jpg "
            "or another picture. Complete it, or leave --images out."
        )
    return found


def _check_out(job: Job, truth: Truth, names: Sequence[str]) -> None:
    """Raise DataError where results would lie among masks, or replace what is no earlier evaluation."""
    from lesionseg.evaluation.report_file import NO_CONFIG, REPORT, Report, check_no_test

    check_no_test(job.out)
    step = "Choose another --out."
    faults = []
    for target in (job.out, *(job.out / name for name in names)):
        if around := folder_around(target, (truth.place, *job.systems)):
            faults.append(f"{target}: results would lie in {around}, expected a folder apart from masks. {step}")
        elif target.exists() and not target.is_dir():
            faults.append(f"{target}: a file, expected a folder for the results. {step}")
        elif target != job.out and (target / REPORT).exists():
            try:
                earlier = Report.read(target).provenance["config"] == NO_CONFIG
            except DataError:
                earlier = False
            if not earlier:
                faults.append(f"{target}: it holds the report of another test, expected nothing there. {step}")
    if faults:
        raise DataError(*faults)


def _write(job: Job, tables: Mapping[str, "list[ImageResult]"], rows: Sequence[Mapping]) -> None:
    """Write the reports, and what is about all systems; all of it is made before any of it gets its place."""
    from lesionseg.evaluation.mask_tables import folder_csv
    from lesionseg.evaluation.pictures import difference_sheet
    from lesionseg.evaluation.report import fingerprints, provenance_of_masks, write_report
    from lesionseg.evaluation.report_file import REPORT

    data = fingerprints(next(iter(tables.values())))
    with scratch_folder(job.out) as scratch:
        for folder, (name, table) in zip(job.systems, tables.items(), strict=True):
            write_report(scratch / name, table, provenance_of_masks(folder, data))
        if len(tables) > 1:
            write_bytes(scratch / DIFFERENCES, difference_sheet(tables))
        if rows:
            write_text(scratch / BY_FOLDER, folder_csv(rows))
        # A report tells that all beside it is whole.
        for file in sorted(filter(Path.is_file, scratch.rglob("*")), key=lambda file: file.name == REPORT):
            place = job.out / file.relative_to(scratch)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
