"""report.html, all of a test on one page."""

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lesionseg.documents.gallery import Card, Measure, draw, gallery, spread
from lesionseg.documents.page import facts, figures, page, picture, remarks, section, side_by_side, table
from lesionseg.documents.thumbnails import Thumbnail, read_small, thumbnail
from lesionseg.engine.learning_curve import LEARNING_CURVE
from lesionseg.evaluation.failures import numbers_of_all
from lesionseg.evaluation.meanings import MEANINGS, OF_FAILURES, OF_NUMBER, OF_SCORE, words
from lesionseg.evaluation.pictures import gray_ground
from lesionseg.evaluation.report_file import NO_CONFIG, Report
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import LESION, PER_IMAGE
from lesionseg.pixels.rle import unpack_mask
from lesionseg.tables import Grid

_OF_IMAGE = (
    *(Measure(words(name), OF_SCORE[name]) for name in PER_IMAGE),
    Measure("true area", "The share of the image that is truly lesion.", ".1%"),
    Measure("predicted area", "The share of the image that was predicted as lesion.", ".1%"),
)


class Part(NamedTuple):
    """A part of the page that not every test has.

    Attributes:
        heading: of the part.
        about: what its picture shows, for those who do not see it.
        grids: its tables.
        plot: its picture, a PNG file.
    """

    heading: str
    about: str
    grids: Sequence[Grid]
    plot: bytes

    @property
    def drawn(self) -> str:
        return picture(self.plot, "image/png", self.about)


def report_page(
    report: Report,
    rows: Sequence[ImageResult],
    plot: bytes,
    more: Sequence[Grid] = (),
    parts: Sequence[Part] = (),
) -> str:
    """Make the page of a test.

    Args:
        report: its scores, and what they were measured on.
        rows: the measured images.
        plot: how their Jaccard spreads, a PNG file.
        more: tables of other scores.
        parts: what was looked at beside the scores.

    Raises:
        DataError: as from `lesionseg.pixels.pictures.read_image`.
    """
    origin = report.provenance
    named_by = "checkpoint" if origin.get("config") == NO_CONFIG else "config"
    about = ", ".join(filter(None, [f"{report.images:,} images", str(origin.get("date", ""))[:10]]))
    curve = Path(str(origin.get("checkpoint", ""))).parent / LEARNING_CURVE
    curve_picture = (
        picture(curve.read_bytes(), "image/png", "Loss and scores of the training") if curve.is_file() else ""
    )
    return page(
        Path(str(origin.get(named_by, "test"))).stem,
        about,
        remarks(_notes(report)),
        section("Scores", _headline(report), side_by_side(_tables(report, more))),
        section("Spread over the images", picture(plot, "image/png", "Box plot and histogram of the Jaccard index")),
        *(
            section(part.heading, *(table(grid, MEANINGS | OF_FAILURES) for grid in part.grids), part.drawn)
            for part in parts
        ),
        section("Images", _images(rows)),
        section("Training", curve_picture),
        section("What was measured", facts(_origin(origin, rows))),
    )


def _notes(report: Report) -> list[str]:
    chosen = "The predictions were chosen by looking at the truth: these scores are optimistic."
    return [*([chosen] if report.optimistic else []), *report.notes]


def _headline(report: Report) -> str:
    return figures((words(name), f"{report.per_image[name]:.3f}", OF_SCORE[name]) for name in PER_IMAGE)


def _tables(report: Report, more: Sequence[Grid]) -> list[str]:
    grids = []
    if report.lesion:
        cells = [
            [words(name), *(_number(report.lesion[kind].get(name)) for kind in ("per_image", "pooled"))]
            for name in LESION
        ]
        grids.append(Grid(["score", "mean over images", "pooled over pixels"], cells, "The lesion"))
    cells = [[name, _number(value)] for name, value in report.pooled.items()]
    grids.append(Grid(["score", "value"], cells, "Pooled over the pixels of all images (MMSeg)"))
    return [table(grid, MEANINGS) for grid in (*grids, *more)]


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"


def _images(rows: Sequence[ImageResult]) -> str:
    shown = spread(rows)
    names = numbers_of_all(rows)

    def card(row: ImageResult) -> Card:
        shares = (row.counts.tp + row.counts.fn, row.counts.tp + row.counts.fp)
        values = [*(row.scores[name] for name in PER_IMAGE), *(pixels / row.counts.pixels for pixels in shares)]
        values += [row.numbers[name] for name in names]
        return Card(row.id, values, _thumbnail(row, len(shown)), [row.finding])

    measures = [*_OF_IMAGE, *(Measure(words(name), OF_NUMBER.get(name, "")) for name in names)]
    return gallery(draw(card, shown), measures, len(rows))


def _thumbnail(row: ImageResult, images: int) -> Thumbnail:
    truth, prediction = row.true_mask(), unpack_mask(row.prediction)
    image = read_small(row.image, truth.shape, images) if row.image else gray_ground(truth)
    return thumbnail(image, dict(truth=truth, prediction=prediction), images)


def _origin(origin: Mapping, rows: Sequence[ImageResult]) -> list[tuple[str, object]]:
    files = [os.path.dirname(os.path.abspath(row.image or row.truth)) for row in rows]
    versions = ", ".join(f"{name} {version}" for name, version in origin.get("versions", {}).items())
    known = [
        ("config", origin.get("config")),
        ("SHA-256 of the config as used", origin.get("config_sha256")),
        ("checkpoint", origin.get("checkpoint")),
        ("SHA-256 of the checkpoint", origin.get("checkpoint_sha256")),
        ("images", os.path.commonpath(files)),
        ("SHA-256 of images and masks", origin.get("dataset_sha256")),
        ("SHA-256 of the COCO file", origin.get("annotations_sha256")),
        ("operators", origin.get("operators")),
        ("software", versions),
        ("commit", origin.get("commit")),
        ("date", origin.get("date")),
    ]
    return [(name, value) for name, value in known if value]
