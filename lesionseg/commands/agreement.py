"""Compares people who have drawn the same lesions with each other, and a model with them."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size

from lesionseg.cli import check_folder, check_once
from lesionseg.data.scored_masks import Truth, match_ids, open_systems
from lesionseg.errors import DataError
from lesionseg.files import folder_around, lock_folder, scratch_folder, write_bytes, write_text

TABLE, PER_IMAGE, PICTURE = "agreement.csv", "per_image.csv", "agreement.png"


@dataclass(frozen=True)
class Job:
    """What to compare; see `tools/agreement.py --help`.

    Attributes:
        people: folders of masks, each of a person, two or more.
        out: where the results go.
        model: a folder of masks that a model has predicted, if there is one.
        suffixes: what may follow an id in the names of masks, see `lesionseg.data.names.all_masks`.
        common: whether images that not all have are left out.
    """

    people: Sequence[Path]
    out: Path
    model: Path | None = None
    suffixes: Sequence[str] = ()
    common: bool = False


def run_agreement(job: Job) -> None:
    """Compare, print the tables, and write `agreement.csv`, `per_image.csv`, `agreement.png` and `report.html`.

    Raises:
        DataError: faults of the names, or of the files; nothing is written then.
        OSError: a folder cannot be read or written.
    """
    folders = [*job.people, *([job.model] if job.model else [])]
    if len(job.people) < 2:
        raise DataError(
            f"{job.people[0]}: the only folder of a person's masks, expected two or more. Name another, or score the "
            "model against one with tools/evaluate.py."
        )
    check_once(folders, "folder of masks")
    _check_out(job.out, folders)
    masks, notes = open_systems(folders, job.suffixes)
    first, *others = folders
    ids, left_out = match_ids(Truth(first, masks[first]), {folder: masks[folder] for folder in others}, job.common)
    # After the names were looked at: a wrong path is told before numpy is loaded.
    from lesionseg.documents.page import REPORT_PAGE, write_page
    from lesionseg.evaluation.agreement import agreement_grid, compare_people, published_grid, verdict
    from lesionseg.evaluation.agreement_page import agreement_csv, agreement_page, agreement_plot, per_image_csv
    from lesionseg.evaluation.compare import short_names
    from lesionseg.evaluation.consensus import MAJORITY, STAPLE, has_staple
    from lesionseg.evaluation.report_file import check_no_test
    from lesionseg.tables import terminal_table

    check_no_test(job.out)
    joined_by = [MAJORITY, STAPLE] if has_staple() else [MAJORITY]
    for note in (*notes, *left_out):
        print(f"note: {note}", file=sys.stderr)
    if STAPLE not in joined_by:
        print(
            "note: STAPLE is left out, as SimpleITK is not there: pip install 'lesionseg[agreement]'", file=sys.stderr
        )
    files = {folder: [masks[folder][id] for id in ids] for folder in folders}
    people = dict(zip(short_names(job.people), (files[folder] for folder in job.people), strict=True))
    compared = compare_people(people, files[job.model] if job.model else None, joined_by)
    told, grids = verdict(compared), [agreement_grid(compared), published_grid()]
    with lock_folder(job.out, "agreement"):
        plot = agreement_plot(compared)
        with scratch_folder(job.out) as scratch:
            write_text(scratch / TABLE, agreement_csv(compared))
            write_text(scratch / PER_IMAGE, per_image_csv(compared, ids))
            write_bytes(scratch / PICTURE, plot)
            for name in (TABLE, PER_IMAGE, PICTURE):
                os.replace(scratch / name, job.out / name)
        write_page(job.out / REPORT_PAGE, lambda: agreement_page(told, grids, plot, files))
    width = get_terminal_size(fallback=(200, 24)).columns
    print("\n\n".join([*(terminal_table(grid, width) for grid in grids), told]))
    made = ", ".join([REPORT_PAGE, TABLE, PER_IMAGE, PICTURE])
    print(
        f"compared {len(people)} people{' and a model' * bool(job.model)} on {len(ids)} images; {made} are in {job.out}"
    )


def _check_out(out: Path, folders: Sequence[Path]) -> None:
    """Raise DataError where results would lie among masks, or a file is in their place."""
    check_folder(out, "--out")
    if around := folder_around(out, folders):
        raise DataError(
            f"{out}: results would lie in {around}, expected a folder apart from masks. Choose another --out."
        )
