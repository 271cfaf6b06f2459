"""Measured images -> tables, plots and their provenance."""

import hashlib
import math
import platform
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from importlib import import_module
from os import PathLike
from pathlib import Path

from lesionseg.cli import progress
from lesionseg.documents.page import REPORT_PAGE, write_page
from lesionseg.evaluation.failure_plot import failure_plot
from lesionseg.evaluation.failures import Failures, failure_grid, judge
from lesionseg.evaluation.group_plot import group_plot
from lesionseg.evaluation.groups import Groups, as_json, group_grids
from lesionseg.evaluation.pictures import captioned, contact_sheet, jaccard_plot
from lesionseg.evaluation.report_file import NO_CONFIG, REPORT, Report
from lesionseg.evaluation.report_page import Part, report_page
from lesionseg.evaluation.results import ImageResult, by_finding, finding_means, means
from lesionseg.evaluation.scores import LESION, PER_IMAGE, lesion_scores, mean_scores, pool, pooled_scores
from lesionseg.evaluation.seen import seen_grid, seen_means
from lesionseg.files import file_sha256, write_bytes, write_text
from lesionseg.pixels.pictures import encode_jpeg
from lesionseg.tables import Grid, csv_text, named_values, side_by_side, terminal_table

# What a report is made of.
FAILURES, GROUPS = "failures.png", "groups.png"
FILES = (REPORT, REPORT_PAGE, "per_image.csv", "jaccard.png", "contact_sheet.jpg", FAILURES, GROUPS)
_VERSIONS_OF = ("lesionseg", "torch", "mmengine", "mmcv", "mmseg", "mmdet", "numpy", "cv2")
_VERSIONS_OF_MASKS = ("lesionseg", "numpy", "cv2")


def write_report(
    folder: str | PathLike,
    table: Sequence[ImageResult],
    provenance: dict,
    notes: Sequence[str] = (),
    coco: Mapping[str, float] | None = None,
    optimistic: bool = False,
    seen: Collection[str] | None = None,
    groups: Groups | None = None,
) -> Failures | None:
    """Write `report.json`, `per_image.csv`, `jaccard.png`, `contact_sheet.jpg` and `report.html` into a folder.

    Where the method says how sure it is, `failures.png` shows how well it knows when it fails. The page is all of the
    others in one. Where only that cannot be made, a warning is printed.

    Args:
        folder: is made where it does not exist; files of an earlier report are replaced.
        table: the measured images, sorted by id.
        provenance: where the numbers come from; see `provenance`.
        notes: what a reader of the numbers has to know, a sentence each.
        coco: MMDetection's scores of instances by name, such as `segm_mAP_50`; 0..1, and -1 where there is nothing
            to measure.
        optimistic: whether the predictions were chosen by looking at the truth.
        seen: ids of the images that have one of their group in training; None where that is not known.
        groups: scores by groups of images, which `groups.png` shows, too.

    Returns:
        how well the method knows when it fails; None where it is sure everywhere.

    Raises:
        DataError: an image or mask cannot be read again for the contact sheet.
    """
    folder = Path(folder)
    failures = judge(table)
    report = Report(
        images=len(table),
        per_image=means(table),
        pooled=pooled_scores(row.counts for row in table),
        provenance=provenance,
        notes=list(notes),
        optimistic=optimistic,
        coco=coco or {},
        lesion=lesion_means(table),
        findings=finding_means(table),
        twins_in_training=seen_means(table, seen),
        failures=failures.as_json() if failures else {},
        groups=as_json(groups) if groups else {},
    )
    pictures = {"contact_sheet.jpg": contact_sheet(table), "jaccard.png": jaccard_plot(table)}
    if failures:
        pictures[FAILURES] = failure_plot(table)
    if groups:
        pictures[GROUPS] = group_plot(groups, report.per_image["jaccard"])
    for name in {FAILURES, GROUPS} - set(pictures):
        (folder / name).unlink(missing_ok=True)
    for name, picture in pictures.items():
        write_bytes(folder / name, picture)
    write_text(folder / "per_image.csv", per_image_csv(table))
    report.write(folder)
    more = [*([coco_grid(coco)] if coco else []), *([finding_grid(table)] if report.findings else [])]
    more += [seen_grid(report.twins_in_training)] if report.twins_in_training else []
    parts = []
    if failures:
        about = "Risk-coverage curves, and what is expected against what is true"
        parts.append(Part("When it fails", about, [failure_grid(failures)], pictures[FAILURES]))
    if groups:
        parts.append(Part("Groups", "Mean Jaccard of every group", group_grids(groups), pictures[GROUPS]))
    write_page(folder / REPORT_PAGE, lambda: report_page(report, table, pictures["jaccard.png"], more, parts))
    return failures


def write_pictures(folder: str | PathLike, table: Sequence[ImageResult]) -> None:
    """Write every image in its own size with the outlines of both masks, and below it their legend and its scores,
    `<id>.jpg`.

    Raises:
        DataError: an image or mask cannot be read again.
    """
    for row in progress(table, len(table), "drawing"):
        write_bytes(Path(folder) / f"{row.id}.jpg", encode_jpeg(captioned(row)))


def provenance(
    config: str | PathLike,
    config_text: str,
    checkpoint: str | PathLike,
    operators: str,
    table: Sequence[ImageResult],
    annotations: str | PathLike | None = None,
    defined_by: str | PathLike | None = None,
) -> dict:
    """Collect what it takes to know later what was measured.

    Args:
        config: path of the config file.
        config_text: the config as it was used, bases and command-line options merged.
        checkpoint: path of the model's file, or the name of a method.
        operators: whose operators were in use, mmcv's compiled ones or this project's.
        table: the measured images.
        annotations: the COCO file that average precisions were measured against.
        defined_by: whose bytes say which model it was, where that is not `checkpoint` itself.
    """
    return dict(
        config=str(config),
        config_sha256=hashlib.sha256(config_text.encode()).hexdigest(),
        checkpoint=str(checkpoint),
        checkpoint_sha256=file_sha256(defined_by or checkpoint),
        **fingerprints(table),
        annotations_sha256=file_sha256(annotations) if annotations else None,
        operators=operators,
        **_now(_VERSIONS_OF),
    )


def provenance_of_masks(folder: str | PathLike, data: Mapping[str, str]) -> dict:
    """Collect the same for a folder of masks that is scored without a config; nothing of OpenMMLab is imported.

    Args:
        folder: of the masks.
        data: the `fingerprints` of what they are scored against.
    """
    return dict(
        config=NO_CONFIG,
        checkpoint=str(folder),
        checkpoint_sha256=file_sha256(folder),
        **data,
        operators=NO_CONFIG,
        **_now(_VERSIONS_OF_MASKS),
    )


def fingerprints(table: Sequence[ImageResult]) -> dict[str, str]:
    """What tells whether two tests were made on the same data: of images and true masks, and of true masks alone."""
    return dict(dataset_sha256=dataset_fingerprint(table), truth_sha256=truth_fingerprint(table))


def dataset_fingerprint(table: Sequence[ImageResult]) -> str:
    """SHA-256 over the ids and the bytes of all images, where there are any, and masks; the same wherever they lie."""
    return _fingerprint((row.id, *([] if row.image is None else [row.image]), row.truth) for row in table)


def truth_fingerprint(table: Sequence[ImageResult]) -> str:
    """SHA-256 over the ids and the bytes of all true masks, which is `dataset_fingerprint` without the images."""
    return _fingerprint((row.id, row.truth) for row in table)


def lesion_means(table: Sequence[ImageResult]) -> dict[str, dict[str, float]]:
    """Compute the scores named in `LESION` in both ways, `per_image` and `pooled`."""
    return dict(
        per_image=mean_scores([lesion_scores(row.counts) for row in table], LESION),
        pooled=lesion_scores(pool(row.counts for row in table), otherwise=math.nan),
    )


def per_image_csv(table: Sequence[ImageResult]) -> str:
    """Write one line per image; reading a number again gives the very same float."""
    rows = [row.row() for row in table]
    return csv_text(list(rows[0]), rows)


def score_table(table: Sequence[ImageResult]) -> str:
    """Set both kinds of score side by side for a terminal, each under its name."""
    return side_by_side(
        _block("per image (mean over images, official)", means(table)),
        _block("pooled over pixels (MMSeg)", pooled_scores(row.counts for row in table)),
    )


def coco_table(coco: Mapping[str, float]) -> str:
    """Set the average precisions of boxes and masks side by side, under the names that COCO has for them."""
    return terminal_table(coco_grid(coco))


def coco_grid(coco: Mapping[str, float]) -> Grid:
    cells = []
    for kind, name in (("bbox", "boxes"), ("segm", "masks")):
        values = [coco.get(f"{kind}_mAP{suffix}", math.nan) for suffix in ("", "_50", "_75")]
        cells.append([name, *(f"{value:.3f}" for value in values)])
    return Grid(["COCO average precision", "AP", "AP50", "AP75"], cells)


def finding_table(table: Sequence[ImageResult]) -> str:
    """Set the mean scores of each finding one below the other; empty where there is but one kind."""
    grid = finding_grid(table)
    return terminal_table(grid) if grid.cells else ""


def finding_grid(table: Sequence[ImageResult]) -> Grid:
    rows = by_finding(table)
    cells = [
        [name, str(len(rows[name])), *(f"{scores[score]:.3f}" for score in PER_IMAGE)]
        for name, scores in finding_means(table).items()
    ]
    return Grid(["per image", "images", *(score.replace("_", " ") for score in PER_IMAGE)], cells)


def _block(title: str, scores: Mapping[str, float]) -> list[str]:
    return [title, *named_values((name, f"{value:.4f}") for name, value in scores.items())]


def _fingerprint(rows: Iterable[tuple[str, ...]]) -> str:
    """SHA-256 over rows of an id and the files that belong to it."""
    fingerprint = hashlib.sha256()
    for id, *files in sorted(rows):
        fingerprint.update(f"{' '.join([id, *map(file_sha256, files)])}\n".encode())
    return fingerprint.hexdigest()


def _now(modules: Sequence[str]) -> dict:
    """What was in use, and when."""
    versions = {name: import_module(name).__version__ for name in modules}
    return dict(
        versions={"python": platform.python_version(), **versions},
        commit=_commit(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _commit() -> str | None:
    """The commit of this code, with `-dirty` where files differ from it; None where it is no checkout of its own."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        # An installed package may lie within somebody else's repository.
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], check=True, capture_output=True)
        described = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(described, check=True, capture_output=True, text=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None
