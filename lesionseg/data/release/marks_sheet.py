"""The contact sheet of photographs as taken, as marked, and the masks that were found."""

from collections.abc import Sequence

import cv2
import numpy as np

from lesionseg.data.names import with_finding
from lesionseg.data.release.convert_image import Reading
from lesionseg.data.release.listing import Pair
from lesionseg.pixels.sheets import Cell, fit_cell, picture_sheet
from lesionseg.workers import map_files

SHEET = "marks.jpg"
MOST_PAIRS = 24

_MOST_COLUMNS = 3  # of pairs


def marks_sheet(pairs: Sequence[Pair], reading: Reading, workers: int | None = None) -> bytes:
    """Show photographs as taken and as marked with their masks; of many pairs, some spread over all evenly.

    Args:
        pairs: at least one, all of them without fault.
        reading: how they were read.
        workers: how many threads work; None for one a core.

    Returns:
        A JPEG file.
    """
    count = min(MOST_PAIRS, len(pairs))
    chosen = [pairs[len(pairs) * number // count] for number in range(count)]
    cells = list(map_files(lambda pair: _cell(pair, reading), chosen, "contact sheet", workers))
    return picture_sheet(cells, min(_MOST_COLUMNS, -(-count // _MOST_COLUMNS)), ("as taken", "as marked", "mask"))


def _cell(pair: Pair, reading: Reading) -> Cell:
    image, marked = (reading.decode_image(source.read(), source.name) for source in (pair.image, pair.mask))
    assert reading.marking is not None
    mark = reading.marking.find(image, marked, pair.finding, pair.mask.name)
    mask = cv2.merge([mark.lesion.view(np.uint8) * np.uint8(255)] * 3)
    caption = (
        f"{with_finding(pair.id, pair.finding)}: {mark.lesion.mean():.2%} marked, differences above {mark.threshold}"
    )
    return Cell([fit_cell(each) for each in (image, marked, mask)], caption)
