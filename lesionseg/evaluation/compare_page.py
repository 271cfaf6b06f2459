"""report.html of a comparison: its tables, box plots, and every image with its scores in all tests."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from lesionseg.data.lists import read_table
from lesionseg.documents.gallery import Card, Measure, draw, gallery, spread
from lesionseg.documents.page import facts, page, paragraph, picture, section, table
from lesionseg.documents.thumbnails import Thumbnail, read_small, thumbnail
from lesionseg.errors import DataError
from lesionseg.evaluation.compare import FinishedTest, Row
from lesionseg.evaluation.meanings import MEANINGS, OF_SCORE
from lesionseg.evaluation.scores import PER_IMAGE
from lesionseg.pixels.masks import lesion_pixels, read_mask
from lesionseg.pixels.pictures import picture_size
from lesionseg.tables import Grid

_APART = "The highest minus the lowest Jaccard of the image: where it is large, the tests disagree."


def comparison_page(rows: Sequence[Row], grids: Sequence[Grid], method: str, boxes: bytes) -> str:
    """Make the page of a comparison.

    Args:
        rows: at least one.
        grids: its tables.
        method: how the intervals in them come to be.
        boxes: how the Jaccard spreads in each test, a PNG file.

    Raises:
        DataError: the table of the first test is none.
    """
    tests = [row.test for row in rows]
    labels = ", ".join(test.label for test in tests)
    return page(
        f"Comparison of {len(tests)} tests",
        f"{len(tests[0].ids):,} images: {labels}",
        section("Scores and differences", *(table(grid, MEANINGS) for grid in grids), paragraph(method)),
        section("Spread over the images", picture(boxes, "image/png", "Box plots of the Jaccard index in each test")),
        section("Images", _images(tests)),
        section("What was compared", facts((test.label, test.work_dir) for test in tests)),
    )


def _images(tests: Sequence[FinishedTest]) -> str:
    """Every image with its Jaccard in each test; those on which tests differ most come first."""
    scores = np.stack([test.scores[:, PER_IMAGE.index("jaccard")] for test in tests], axis=1)
    files = {row["id"]: row for row in read_table(Path(tests[0].work_dir) / "per_image.csv").rows}
    numbers = spread(range(len(scores)))

    def card(number: int) -> Card:
        own, id = scores[number].tolist(), tests[0].ids[number]
        apart = [max(own) - min(own)] if len(tests) > 1 else []
        return Card(id, [*apart, *own], _thumbnail(files.get(id, {}), len(numbers)))

    apart = [Measure("Jaccards apart", _APART, falling=True)] if len(tests) > 1 else []
    measures = [*apart, *(Measure(test.label, f"Jaccard in {test.label}. {OF_SCORE['jaccard']}") for test in tests)]
    return gallery(draw(card, numbers), measures, len(scores))


def _thumbnail(files: Mapping[str, str], images: int) -> Thumbnail | None:
    """The image with its true outline, as far as both are still there and readable."""
    with suppress(DataError, OSError):
        path, masks = files["image"] or files["truth"], {}
        image = read_small(path, picture_size(path), images)
        with suppress(DataError, OSError):
            masks["truth"] = lesion_pixels(read_mask(files["truth"]))
        return thumbnail(image, masks, images)
    return None
