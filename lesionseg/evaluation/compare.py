"""Finished tests on the same images -> one table, paired differences and one picture."""

import csv
import json
import math
import os
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.pictures import jaccard_boxes
from lesionseg.evaluation.scores import PER_IMAGE, POOLED
from lesionseg.files import write_bytes, write_text

COMPARED = ("jaccard", "dice", "threshold_jaccard")
CONFIDENCE = 0.95
RESAMPLES = 10_000

# What a report has to hold to be compared, and of which types; `...` stands for a key that is not there.
_REPORT = {
    ("images",): int,
    ("notes",): list,
    **{("per_image", name): float for name in PER_IMAGE},
    **{("pooled", name): (float, type(None)) for name in POOLED},
    **{("provenance", name): str for name in ("config", "checkpoint", "checkpoint_sha256", "dataset_sha256")},
    ("coco",): (dict, type(...)),
}
_COUNTS = ("tp", "tn", "fp", "fn")
# Of COCO's twelve those that papers print; the CSV has whatever the report has.
_COCO_SHOWN = tuple(f"{kind}_{score}" for kind in ("bbox", "segm") for score in ("mAP", "mAP_50", "mAP_75"))
_NARROWEST = 16  # characters of a column of words in a terminal
_METHOD = (
    f"Intervals: percentiles of {RESAMPLES:,} bootstrap resamples of the images, the same for all tests. They tell "
    "what other images of the same kind would change, not what another training would. Better, worse and equal "
    "count images."
)


@dataclass(frozen=True)
class FinishedTest:
    """What a finished test left in its work_dir.

    Attributes:
        work_dir: as the caller gave it.
        label: what to call it, unlike all others; says so where its scores are optimistic.
        report: the contents of `report.json`.
        ids: of the images, sorted.
        scores: (images, 6) float64 in 0..1, columns in the order of `PER_IMAGE`.
        pixels: (images,) int64, size of the images.
        lesion_pixels: (images,) int64, area of the true lesions.
    """

    work_dir: str
    label: str
    report: dict
    ids: tuple[str, ...]
    scores: np.ndarray
    pixels: np.ndarray
    lesion_pixels: np.ndarray

    @property
    def coco(self) -> dict[str, float]:
        """COCO's scores by name; none for a model without instances."""
        return self.report.get("coco", {})


@dataclass(frozen=True)
class Estimate:
    """A mean over images, and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """By how much a score exceeds the reference's, and on how many images it is higher, lower or the very same."""

    better: int
    worse: int
    equal: int


@dataclass(frozen=True)
class Row:
    """One test among others.

    Attributes:
        test: what is compared.
        means: by the names in `COMPARED`.
        differences: from the reference, by the same names; none for the reference itself.
        remarks: what else is unlike the reference, without harm to the comparison, and the notes of the report.
    """

    test: FinishedTest
    means: dict[str, Estimate]
    differences: dict[str, Difference]
    remarks: str


class _Grid(NamedTuple):
    title: str
    header: list[str]
    cells: list[list[str]]


def read_tests(work_dirs: Sequence[str | PathLike]) -> list[FinishedTest]:
    """Read what `tools/test.py` left.

    Args:
        work_dirs: folders with `report.json` and `per_image.csv`.

    Raises:
        DataError: a folder is given twice, or its files are missing, damaged, of another version or not of one
            test; a line for each such folder.
    """
    resolved = [Path(folder).resolve() for folder in work_dirs]
    for number, folder in enumerate(work_dirs):
        if resolved[number] in resolved[:number]:
            raise DataError(f"{folder}: given twice, expected every work_dir once. Leave one out.")
    tests, faults = [], []
    for folder, name in zip(work_dirs, short_names(work_dirs), strict=True):
        try:
            tests.append(_read_test(Path(folder), name))
        except DataError as error:
            faults.append(f"{error}. Run `tools/test.py CONFIG CHECKPOINT --work-dir {folder}`.")
    if faults:
        raise DataError(*faults)
    return tests


def short_names(folders: Sequence[str | PathLike]) -> list[str]:
    """Name different folders by the ends of their paths, each as short as tells it from all others."""
    parts = [Path(os.path.abspath(folder)).parts for folder in folders]
    names = []
    for own in parts:
        others = [other for other in parts if other is not own]
        length = next(n for n in range(1, len(own) + 1) if all(other[-n:] != own[-n:] for other in others))
        names.append(str(Path(*own[-length:])))
    return names


def compare(tests: Sequence[FinishedTest]) -> list[Row]:
    """Compare tests with the first of them, the reference, image by image.

    Args:
        tests: at least one.

    Raises:
        DataError: they were not made on the same images and true masks; a line for each that differs from the
            reference, which names what differs.
    """
    faults = [fault for test in tests[1:] if (fault := _other_images(test, tests[0]))]
    if faults:
        raise DataError(*faults)
    scores = np.stack([test.scores for test in tests], axis=1)
    # Every resample draws the same images for all tests, which makes the differences paired.
    resampled = bootstrap_means(scores)
    rows = []
    for number, test in enumerate(tests):
        means, differences = {}, {}
        for name in COMPARED:
            column = PER_IMAGE.index(name)
            own, theirs = (scores[:, each, column] for each in (number, 0))
            own_means, their_means = (resampled[:, each, column] for each in (number, 0))
            means[name] = Estimate(float(own.mean()), *_interval(own_means))
            if number:
                differences[name] = _difference(own - theirs, own_means - their_means)
        rows.append(Row(test, means, differences, _remarks(test, tests[0])))
    return rows


def bootstrap_means(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Average resampled images: as many as there are, drawn with replacement (Efron 1979).

    Args:
        values: (images, ...) float64.
        seed: the same seed draws the same images.

    Returns:
        (`RESAMPLES`, ...) float64, whose percentiles bound the mean over images.
    """
    images = len(values)
    random = np.random.default_rng(seed)
    flat = values.reshape(images, -1)
    means = np.empty((RESAMPLES, flat.shape[1]))
    for number in range(RESAMPLES):
        times_drawn = np.bincount(random.integers(images, size=images), minlength=images)
        means[number] = times_drawn @ flat / images
    return means.reshape(RESAMPLES, *values.shape[1:])


def write_comparison(folder: str | PathLike, rows: Sequence[Row]) -> None:
    """Write `comparison.md`, `comparison.csv` and `comparison.png` into a folder.

    Args:
        folder: is made where it does not exist; files of an earlier comparison are replaced.
        rows: at least one.
    """
    folder = Path(folder)
    column = PER_IMAGE.index("jaccard")
    picture = jaccard_boxes({row.test.label: row.test.scores[:, column] for row in rows})
    write_bytes(folder / "comparison.png", picture)
    write_text(folder / "comparison.csv", comparison_csv(rows))
    write_text(folder / "comparison.md", comparison_markdown(rows))


def comparison_csv(rows: Sequence[Row]) -> str:
    """Write one line per test with everything that was computed; what does not exist is empty."""
    lines = [_csv_line(row) for row in rows]
    # The first line lacks the differences, and COCO's scores where only another test has them.
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = StringIO()
    writer = csv.DictWriter(text, fieldnames=names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def comparison_markdown(rows: Sequence[Row]) -> str:
    """Write the tables as GitHub's Markdown."""
    blocks = []
    for title, header, cells in _grids(rows):
        lines = [header, ["---"] * len(header), *cells]
        table = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
        blocks.append("\n".join([f"{title}:", "", *table]))
    return "\n\n".join([*blocks, _METHOD, "![Jaccard of the images in every test](comparison.png)"]) + "\n"


def comparison_text(rows: Sequence[Row], width: int) -> str:
    """Set the tables for a terminal.

    Args:
        rows: at least one.
        width: of the terminal in characters. Words are folded to fit it, numbers never: where these need more, the
            text is wider.
    """
    blocks = [_terminal_table(grid, width) for grid in _grids(rows)]
    return "\n\n".join([*blocks, textwrap.fill(_METHOD, width)])


def _terminal_table(grid: _Grid, width: int) -> str:
    narrowest = Console(width=10_000).measure(_lay_out(grid, most=_NARROWEST)).maximum
    console = Console(width=max(width, narrowest), file=StringIO(), color_system=None)
    console.print(_lay_out(grid))
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return "\n".join([f"{grid.title}:", *filter(None, lines)])


def _lay_out(grid: _Grid, most: int | None = None) -> Table:
    """Lay out a table whose columns of words are at most so many characters wide."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in grid.header:
        if name in ("test", "remarks"):
            table.add_column(name, overflow="fold", min_width=_NARROWEST, max_width=most)
        else:
            table.add_column(name.replace(" ", "\n"), justify="right", no_wrap=True)
    for line in grid.cells:
        table.add_row(*map(Text, line))
    return table


def _grids(rows: Sequence[Row]) -> list[_Grid]:
    return [_scores_grid(rows), *(_difference_grid(rows, name) for name in COMPARED)]


def _scores_grid(rows: Sequence[Row]) -> _Grid:
    coco = [name for name in _COCO_SHOWN if any(name in row.test.coco for row in rows)]
    header = ["test", *PER_IMAGE, "pooled_mIoU", "pooled_mDice", *coco, "remarks"]
    cells = []
    for row in rows:
        report = row.test.report
        values = [
            *(report["per_image"][name] for name in PER_IMAGE),
            *(report["pooled"][name] for name in ("mIoU", "mDice")),
            *(row.test.coco.get(name) for name in coco),
        ]
        numbers = ["-" if value is None else f"{value:.4f}" for value in values]
        cells.append([row.test.label, *numbers, row.remarks])
    title = f"Means over {len(rows[0].test.ids)} images (official), and pooled over pixels (MMSeg)"
    return _Grid(title, [name.replace("_", " ") for name in header], cells)


def _difference_grid(rows: Sequence[Row], name: str) -> _Grid:
    cells = []
    for row in rows:
        mean, change = row.means[name], row.differences.get(name)
        line = [row.test.label, f"{mean.mean:.4f}", f"{mean.low:.4f} to {mean.high:.4f}"]
        if change:
            line += [f"{change.mean:+.4f}", f"{change.low:+.4f} to {change.high:+.4f}"]
            line += map(str, (change.better, change.worse, change.equal))
        cells.append(line + ["-"] * (8 - len(line)))
    score, interval = name.replace("_", " "), f"{CONFIDENCE:.0%} interval"
    header = ["test", score, interval, "difference", interval, "better", "worse", "equal"]
    return _Grid(f"Mean {score}, and its difference from {rows[0].test.label} on the same images", header, cells)


def _csv_line(row: Row) -> dict:
    report = row.test.report
    line = dict(test=row.test.label, work_dir=row.test.work_dir, images=len(row.test.ids), remarks=row.remarks)
    line |= {name: report["per_image"][name] for name in PER_IMAGE}
    line |= {f"pooled_{name}": report["pooled"][name] for name in POOLED}
    # Rounded, so that two processors, which may add in another order, write the same.
    for name, mean in row.means.items():
        line |= {f"{name}_low": round(mean.low, 6), f"{name}_high": round(mean.high, 6)}
    for name, change in row.differences.items():
        line |= {f"{name}_difference_{key}": round(value, 6) for key, value in asdict(change).items()}
    return line | row.test.coco


def _interval(means: np.ndarray) -> tuple[float, float]:
    """Bound the middle `CONFIDENCE` of resampled means, (resamples,) float64."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def _difference(values: np.ndarray, means: np.ndarray) -> Difference:
    """Sum up the differences of images, (images,) float64, and their resampled means, (resamples,) float64."""
    better, worse = int(np.count_nonzero(values > 0)), int(np.count_nonzero(values < 0))
    return Difference(float(values.mean()), *_interval(means), better, worse, len(values) - better - worse)


def _other_images(test: FinishedTest, reference: FinishedTest) -> str | None:
    """Say in what the measured images or their true masks differ from the reference's; None where in nothing."""
    facts = []
    for one, other in ((test, reference), (reference, test)):
        if only := sorted(set(one.ids) - set(other.ids)):
            facts.append(f"{len(only)} of {len(one.ids)} images only in {one.work_dir} ({first_names(only)})")
    shared, mine, theirs = np.intersect1d(test.ids, reference.ids, return_indices=True)
    resized = test.pixels[mine] != reference.pixels[theirs]
    redrawn = ~resized & (test.lesion_pixels[mine] != reference.lesion_pixels[theirs])
    for differs, what in ((resized, "another size"), (redrawn, "a true lesion of another area")):
        if names := shared[differs].tolist():
            facts.append(f"{len(names)} of {len(shared)} shared images with {what} ({first_names(names)})")
    fingerprint, expected = (each.report["provenance"]["dataset_sha256"] for each in (test, reference))
    if fingerprint != expected:
        facts = facts or ["ids, sizes and lesion areas agree, but the bytes of images or masks do not"]
        facts.append(f"data set fingerprint {fingerprint[:12]}, not {expected[:12]}")
    if not facts:
        return None
    return (
        f"{test.work_dir}: not made on the images of {reference.work_dir}: {'; '.join(facts)}; expected the same "
        "images and true masks. Test both on one data set."
    )


def _remarks(test: FinishedTest, reference: FinishedTest) -> str:
    own, others = test.report["provenance"], reference.report["provenance"]
    facts = []
    if (config := Path(own["config"]).stem) != Path(others["config"]).stem:
        facts.append(f"other config {config}")
    if own["checkpoint_sha256"] != others["checkpoint_sha256"]:
        facts.append(f"other checkpoint {Path(own['checkpoint']).name}")
    # Whose operators and which versions stand in the reports, for those whom a small difference puzzles.
    if any(own.get(name) != others.get(name) for name in ("operators", "versions")):
        facts.append("other versions of the software")
    return "; ".join([*facts, *(note.rstrip(".") for note in test.report["notes"])])


def _read_test(folder: Path, name: str) -> FinishedTest:
    report, images = _read_report(folder / "report.json"), _read_images(folder / "per_image.csv")
    ids = tuple(sorted(images))
    scores = np.array([[images[image][name] for name in PER_IMAGE] for image in ids])
    counts = {name: np.array([int(images[image][name]) for image in ids]) for name in _COUNTS}
    reported = [report["per_image"][name] for name in PER_IMAGE]
    if len(ids) != report["images"] or not np.allclose(scores.mean(axis=0), reported, rtol=0, atol=1e-9):
        raise DataError(f"{folder}: per_image.csv does not have the means of report.json, expected files of one test")
    return FinishedTest(
        work_dir=str(folder),
        label=name + " (optimistic)" * any("optimistic" in note.lower() for note in report["notes"]),
        report=report,
        ids=ids,
        scores=scores,
        pixels=sum(counts.values()),
        lesion_pixels=counts["tp"] + counts["fn"],
    )


def _read_report(path: Path) -> dict:
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected the report of a finished test")
    try:
        report = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}), expected a report") from error
    unusable = [".".join(keys) for keys, kind in _REPORT.items() if not isinstance(_value(report, keys), kind)]
    if unusable:
        raise DataError(f"{path}: {first_names(unusable)} missing or damaged, expected a report of this version")
    return report


def _value(report: object, keys: Sequence[str]) -> object:
    for key in keys:
        report = report.get(key, ...) if isinstance(report, dict) else ...
    return report


def _read_images(path: Path) -> dict[str, dict[str, float]]:
    """Read `per_image.csv`: by image id, the scores and the counts of pixels."""
    if not path.is_file():
        raise DataError(f"{path}: no such file, expected it beside report.json")
    images = {}
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for line in reader:
                numbers = {name: float(line[name]) for name in (*PER_IMAGE, *_COUNTS)}
                if line["id"] in images or not all(map(math.isfinite, numbers.values())):
                    raise ValueError
                images[line["id"]] = numbers
        except KeyError as error:
            raise DataError(f"{path}: no column {error}, expected a table of this version") from error
        except (ValueError, TypeError, csv.Error) as error:
            fact = f"line {reader.line_num} is damaged"
            raise DataError(f"{path}: {fact}, expected an id of its own and numbers") from error
    return images
