"""Scores of the images whose like a model was trained on, and of the others."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lesionseg.evaluation.results import ImageResult, means
from lesionseg.evaluation.scores import PER_IMAGE
from lesionseg.tables import Grid, terminal_table


def seen_means(table: Sequence[ImageResult], seen: Collection[str] | None) -> dict[str, Any]:
    """Average over the images with one of their group in training, and over those without.

    Args:
        table: the measured images.
        seen: ids as from `lesionseg.data.release.data_set_folder.find_seen`; None where that is not known.

    Returns:
        of each, `with` and `without`: `images`, how many, and where there are some their means by the names in
        `PER_IMAGE` as `per_image`; none where it is not known.
    """
    if seen is None:
        return {}
    parts = {"with": [row for row in table if row.image_id in seen]}
    parts["without"] = [row for row in table if row.image_id not in seen]
    return {
        name: dict(images=len({row.image_id for row in rows})) | (dict(per_image=means(rows)) if rows else {})
        for name, rows in parts.items()
    }


def seen_grid(scores: Mapping[str, Any]) -> Grid:
    """Set what `seen_means` gives for a terminal or a page."""
    counts = {name: part["images"] for name, part in scores.items()}
    cells = [
        [f"{name} one of their group in training", str(part["images"]), *_numbers(part.get("per_image"))]
        for name, part in scores.items()
    ]
    title = f"{counts['with']} of {sum(counts.values())} images have a twin, or another of their group, in training"
    return Grid(["images", "number", *(name.replace("_", " ") for name in PER_IMAGE)], cells, title)


def seen_table(table: Sequence[ImageResult], seen: Collection[str] | None) -> str:
    """The same for a terminal; empty where it is not known."""
    scores = seen_means(table, seen)
    return terminal_table(seen_grid(scores)) if scores else ""


def _numbers(scores: Mapping[str, float] | None) -> list[str]:
    return [f"{scores[name]:.3f}" if scores else "-" for name in PER_IMAGE]
