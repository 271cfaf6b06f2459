"""Tables of masks that were scored without a model: the scores of the lesion in both ways, and those by folder."""

import math
from collections.abc import Mapping, Sequence

from lesionseg.evaluation.report import lesion_means
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import LESION, mean_scores
from lesionseg.tables import Grid, csv_text

# Folders of more, such as one a patient, are for the CSV.
_MOST_FOLDERS = 20
_OFFICIAL = ("jaccard", "dice", "threshold_jaccard")


def lesion_grid(systems: Mapping[str, Sequence[ImageResult]]) -> Grid:
    """Set precision, recall, accuracy, Dice and IoU of every system below each other, pooled and per image."""
    cells = []
    for label, table in systems.items():
        scores = lesion_means(table)
        for kind, name in (("pooled", "pooled over pixels"), ("per_image", "mean over images")):
            cells.append([label, name, *(_number(scores[kind][score]) for score in LESION)])
    images = len(next(iter(systems.values())))
    return Grid(["test", "kind", *LESION], cells, f"Scores of the lesion on {images} images", ("test", "kind"))


def folder_rows(systems: Mapping[str, Sequence[ImageResult]]) -> list[dict[str, str | int | float]]:
    """Score every system by the first folder of the ids, and average over the folders.

    Args:
        systems: by name, tables of the same images.

    Returns:
        A row a system and folder, and one a system with the folder `mean`: the number of images, means over images by
        the names in `PER_IMAGE`, and scores over pooled pixels as `pooled_precision` and so on, NaN where there is
        nothing to be a share of. None where there are not at least two folders, or an id has none.
    """
    rows: list[dict[str, str | int | float]] = []
    for label, table in systems.items():
        folders = split_by_folder(table)
        if len(folders) < 2:
            return []
        scores = {folder: _folder_scores(images) for folder, images in folders.items()}
        rows += [
            dict(test=label, folder=folder, images=len(folders[folder]), **values) for folder, values in scores.items()
        ]
        rows.append(dict(test=label, folder="mean", images=len(table), **_means(list(scores.values()))))
    return rows


def folder_csv(rows: Sequence[Mapping[str, str | int | float]]) -> str:
    """Write the rows as CSV; what is not defined is empty."""
    return csv_text(list(rows[0]), [{name: _defined(value) for name, value in row.items()} for row in rows])


def folder_grid(rows: Sequence[Mapping[str, str | int | float]]) -> Grid | None:
    """Set the rows for a terminal, in which few of their scores find room; None for too many folders."""
    if len({row["folder"] for row in rows}) > _MOST_FOLDERS + 1:
        return None
    shown = [*_OFFICIAL, *(f"pooled_{name}" for name in LESION)]
    cells = [
        [str(row["test"]), str(row["folder"]), str(row["images"]), *(_number(float(row[name])) for name in shown)]
        for row in rows
    ]
    header = ["test", "folder", "images", *(name.replace("_", " ") for name in shown)]
    return Grid(header, cells, "By folder: means over images (official), and pooled over pixels", ("test", "folder"))


def split_by_folder(table: Sequence[ImageResult]) -> dict[str, list[ImageResult]]:
    """Sort images by the first folder of their ids; no folders where an id has none."""
    folders: dict[str, list[ImageResult]] = {}
    for row in table:
        folder, slash, _ = row.id.partition("/")
        if not slash:
            return {}
        folders.setdefault(folder, []).append(row)
    return folders


def _folder_scores(table: Sequence[ImageResult]) -> dict[str, float]:
    pooled = lesion_means(table)["pooled"]
    return mean_scores([row.scores for row in table]) | {f"pooled_{name}": value for name, value in pooled.items()}


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average over folders, each score over those that have it."""
    values = {name: [each[name] for each in scores if not math.isnan(each[name])] for name in scores[0]}
    return {name: math.fsum(found) / len(found) if found else math.nan for name, found in values.items()}


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _defined(value: str | int | float) -> str | int | float | None:
    return None if isinstance(value, float) and math.isnan(value) else value
