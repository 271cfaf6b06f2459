"""A comparison as tables for a terminal, Markdown and CSV, and as one picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path

from lesionseg.documents.page import REPORT_PAGE, write_page
from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.compare import COMPARED, RESAMPLES, Row
from lesionseg.evaluation.compare_page import comparison_page
from lesionseg.evaluation.pictures import jaccard_boxes
from lesionseg.evaluation.report_file import check_no_test
from lesionseg.evaluation.resampling import CONFIDENCE, FEWEST, interval_text, rounded
from lesionseg.evaluation.scores import PER_IMAGE, POOLED
from lesionseg.files import lock_folder, write_bytes, write_text
from lesionseg.tables import Grid, csv_text, markdown_table, terminal_table

# Of COCO's twelve those that papers print; the CSV has whatever the report has.
_COCO_SHOWN = tuple(f"{kind}_{score}" for kind in ("bbox", "segm") for score in ("mAP", "mAP_50", "mAP_75"))
_FILES = ("comparison.png", "comparison.csv", "comparison.md", REPORT_PAGE)
_WORDS = ("test", "remarks")
_METHOD = (
    f"Intervals: percentiles of {RESAMPLES:,} bootstrap resamples of the images, the same for all tests. They tell "
    "what other images of the same kind would change, not what another training would. There are none of fewer than "
    f"{FEWEST} images, or of that many of a finding, which say nothing of others. Better, worse and equal count images."
)


def write_comparison(folder: str | PathLike, rows: Sequence[Row]) -> None:
    """Write `comparison.md`, `comparison.csv`, `comparison.png` and `report.html` into a folder.

    The page is all of the others in one. Where only that cannot be made, a warning is printed.

    Args:
        folder: is made where it does not exist; files of an earlier comparison are replaced.
        rows: at least one.

    Raises:
        DataError: another comparison is writing there, folders are in the way, or the folder is that of a test.
        OSError: the folder cannot be written to.
    """
    folder = Path(folder)
    check_no_test(folder)
    if taken := [str(folder / name) for name in _FILES if (folder / name).is_dir()]:
        raise DataError(
            f"{first_names(taken)}: a folder, expected a place for a file. Move it away, or choose another --out."
        )
    column = PER_IMAGE.index("jaccard")
    picture = jaccard_boxes({row.test.label: row.test.scores[:, column] for row in rows})
    with lock_folder(folder, "compare"):
        write_bytes(folder / "comparison.png", picture)
        write_text(folder / "comparison.csv", comparison_csv(rows))
        write_text(folder / "comparison.md", comparison_markdown(rows))
        write_page(folder / REPORT_PAGE, lambda: comparison_page(rows, _grids(rows), _METHOD, picture))


def comparison_csv(rows: Sequence[Row]) -> str:
    """Write one line per test with everything that was computed; what does not exist is empty."""
    lines = [_csv_line(row) for row in rows]
    # The first line lacks the differences, and COCO's scores where only another test has them.
    names = list(dict.fromkeys(name for line in lines for name in line))
    return csv_text(names, lines)


def comparison_markdown(rows: Sequence[Row]) -> str:
    """Write the tables as GitHub's Markdown."""
    blocks = map(markdown_table, _grids(rows))
    return "\n\n".join([*blocks, _METHOD, "![Jaccard of the images in every test](comparison.png)"]) + "\n"


def comparison_text(rows: Sequence[Row], width: int) -> str:
    """Set the tables for a terminal.

    Args:
        rows: at least one.
        width: of the terminal in characters. Words are folded to fit it, numbers never: where these need more, the
            text is wider.
    """
    blocks = [terminal_table(grid, width) for grid in _grids(rows)]
    return "\n\n".join([*blocks, textwrap.fill(_METHOD, width)])


def _grids(rows: Sequence[Row]) -> list[Grid]:
    return [_scores_grid(rows), *(_difference_grid(rows, name) for name in COMPARED)]


def _scores_grid(rows: Sequence[Row]) -> Grid:
    coco = [name for name in _COCO_SHOWN if any(name in row.test.report.coco for row in rows)]
    header = ["test", *PER_IMAGE, "pooled_mIoU", "pooled_mDice", *coco, "remarks"]
    cells = []
    for row in rows:
        report = row.test.report
        values = [
            *(report.per_image[name] for name in PER_IMAGE),
            *(report.pooled[name] for name in ("mIoU", "mDice")),
            *(report.coco.get(name) for name in coco),
        ]
        numbers = ["-" if value is None else f"{value:.4f}" for value in values]
        cells.append([row.test.label, *numbers, row.remarks])
    title = f"Means over {len(rows[0].test.ids)} images (official), and pooled over pixels (MMSeg)"
    return Grid([name.replace("_", " ") for name in header], cells, title, _WORDS)


def _difference_grid(rows: Sequence[Row], name: str) -> Grid:
    cells = []
    for row in rows:
        mean, change = row.means[name], row.differences.get(name)
        line = [row.test.label, f"{mean.mean:.4f}", interval_text(mean.low, mean.high, ".4f")]
        if change:
            line += [f"{change.mean:+.4f}", interval_text(change.low, change.high, "+.4f")]
            line += map(str, (change.better, change.worse, change.equal))
        cells.append(line + ["-"] * (8 - len(line)))
    score, interval = name.replace("_", " "), f"{CONFIDENCE:.0%} interval"
    header = ["test", score, interval, "difference", interval, "better", "worse", "equal"]
    title = f"Mean {score}, and its difference from {rows[0].test.label} on the same images"
    return Grid(header, cells, title, _WORDS)


def _csv_line(row: Row) -> dict:
    report = row.test.report
    line = dict(test=row.test.label, work_dir=row.test.work_dir, images=len(row.test.ids), remarks=row.remarks)
    line |= {name: report.per_image[name] for name in PER_IMAGE}
    line |= {f"pooled_{name}": report.pooled[name] for name in POOLED}
    for name, mean in row.means.items():
        line |= {f"{name}_low": rounded(mean.low), f"{name}_high": rounded(mean.high)}
    for name, change in row.differences.items():
        line |= {f"{name}_difference_{key}": rounded(value) for key, value in asdict(change).items()}
    return line | dict(report.coco)
