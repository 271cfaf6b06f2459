"""report.html, all of a run of predictions on one page."""

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import numpy as np

from lesionseg import __version__
from lesionseg.commands.predictions import Row
from lesionseg.documents.charts import histogram
from lesionseg.documents.gallery import MEGAPIXELS, PARTS, Card, Measure, draw, gallery, spread
from lesionseg.documents.page import facts, figures, page, remarks, section, side_by_side
from lesionseg.documents.thumbnails import read_small, thumbnail
from lesionseg.evaluation.meanings import OF_NUMBER
from lesionseg.evaluation.scores import JACCARD_THRESHOLD
from lesionseg.inference.inputs import MASK
from lesionseg.pixels.masks import lesion_pixels, read_mask

_AREA = "Predicted pixels over all pixels of the image."
_SCORE = (
    "How sure the model is: the mean probability in the mask, or the score of the best instance. It is high for what "
    "looks like the training data, and no proof."
)
_DOUBTFUL = f"Masks with an expected Jaccard below {JACCARD_THRESHOLD}: a person should look at them."
_OF_IMAGE = (
    Measure("score", _SCORE),
    Measure("area", _AREA, ".1%"),
    PARTS,
    Measure("seconds", "What the model and the steps until the mask took.", ".3f", falling=True),
    MEGAPIXELS,
)
_EXPECTED = Measure("expected Jaccard", OF_NUMBER["expected_jaccard"])


def prediction_page(folder: Path, rows: Sequence[Row], faults: Sequence[str], settings: Mapping[str, object]) -> str:
    """Make the page of a run of predictions.

    Args:
        folder: that holds the masks.
        rows: of `predictions.csv`, at least one.
        faults: of the images that were not predicted, a line each.
        settings: what decided what was found, by name: the `model`, and how it was used.

    Raises:
        DataError: an image or a mask cannot be read again.
    """
    shown = spread(rows)
    expected = [row.expected_jaccard for row in rows if row.expected_jaccard is not None]
    # Those of which the least is expected come first.
    measures = (_EXPECTED, *_OF_IMAGE) if expected else _OF_IMAGE

    def card(row: Row) -> Card:
        mask = lesion_pixels(read_mask(folder / f"{row.id}{MASK}"))
        image = read_small(row.image, (row.height, row.width), len(shown))
        values = [row.score, row.lesion_share, row.components, row.seconds, row.width * row.height / 1e6]
        tags = ["doubtful"] * bool(row.doubtful)
        values = [row.expected_jaccard, *values] if expected else values
        return Card(row.id, values, thumbnail(image, dict(prediction=mask), len(shown)), tags)

    empty = sum(row.components == 0 for row in rows)
    shares = [row.lesion_share for row in rows]
    scores = [row.score for row in rows if row.score is not None]
    return page(
        f"Predictions of {settings['model']}",
        f"{len(rows):,} masks, {date.today().isoformat()}",
        remarks(faults),
        section(
            "Numbers",
            figures(
                [
                    ("masks", f"{len(rows):,}", "One of an image, or one for each finding that was looked for in it."),
                    ("empty masks", f"{empty:,}", "Nothing was found in these images."),
                    ("median area", f"{np.median(shares):.1%}", _AREA),
                    ("median score", f"{np.median(scores):.3f}" if scores else "-", _SCORE),
                    *(
                        [
                            ("mean expected Jaccard", f"{np.mean(expected):.3f}", _EXPECTED.meaning),
                            ("doubtful", f"{sum(bool(row.doubtful) for row in rows):,}", _DOUBTFUL),
                        ]
                        if expected
                        else []
                    ),
                ]
            ),
            side_by_side(
                [
                    histogram("Expected Jaccard", expected, note=_EXPECTED.meaning),
                    histogram("Score", scores, note=_SCORE),
                    histogram("Area, share of the image", shares, ".0%"),
                    histogram("Parts of a mask", [row.components for row in rows], ".0f", whole=True),
                ]
            ),
        ),
        section("Images", gallery(draw(card, shown), measures, len(rows))),
        section(
            "How they were made",
            facts([*_settings(settings), ("folder", folder), ("lesionseg", __version__)]),
        ),
    )


def _settings(settings: Mapping[str, object]) -> list[tuple[str, str]]:
    """Settings as text, those of a group with its name before theirs; those that are not set are left out."""
    told: list[tuple[str, object]] = []
    for name, value in settings.items():
        told += (
            [(f"{name}: {key}", each) for key, each in value.items()] if isinstance(value, Mapping) else [(name, value)]
        )
    return [(name.replace("_", " "), "yes" if value is True else str(value)) for name, value in told if value]
