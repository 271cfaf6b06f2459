"""The contact sheet of photographs as taken, as marked, and the masks that were found."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure

from lesionseg.data.names import with_finding
from lesionseg.data.release.convert_image import Reading
from lesionseg.data.release.listing import Pair
from lesionseg.workers import map_files

SHEET = "marks.jpg"
MOST_PAIRS = 24

_CELL = 300  # pixels of the longer edge of a thumbnail
_GAP = 8
_CAPTION = 40
_MOST_COLUMNS = 3  # of pairs
_TITLES = ("as taken", "as marked", "mask")
_INK = "#222222"
_DPI = 100


class _Cell(NamedTuple):
    pictures: list[np.ndarray]
    caption: str


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
    columns = min(_MOST_COLUMNS, -(-count // _MOST_COLUMNS))
    block = 3 * (max(picture.shape[1] for cell in cells for picture in cell.pictures) + _GAP) + 2 * _GAP
    lines = [cells[first : first + columns] for first in range(0, count, columns)]
    heights = [_CAPTION + max(cell.pictures[0].shape[0] for cell in line) for line in lines]
    sheet = np.full((_CAPTION + sum(heights) + _GAP, columns * block + _GAP, 3), 255, np.uint8)
    figure = Figure(figsize=(sheet.shape[1] / _DPI, sheet.shape[0] / _DPI))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    style: dict[str, Any] = dict(fontsize=11, color=_INK, verticalalignment="center", parse_math=False)
    top = _CAPTION
    for line, height in zip(lines, heights, strict=True):
        for column, cell in enumerate(line):
            left = _GAP + column * block
            axes.text(left, top + _CAPTION / 2, cell.caption, **style)
            for place, picture in enumerate(cell.pictures):
                x, y = left + place * (block - 2 * _GAP) // 3, top + _CAPTION
                sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture[..., ::-1]
                if top == _CAPTION:
                    axes.text(x, _CAPTION / 2, _TITLES[place], weight="bold", **style)
        top += height
    axes.imshow(sheet, aspect="auto")
    file = BytesIO()
    figure.savefig(file, format="jpeg", dpi=_DPI)
    return file.getvalue()


def _cell(pair: Pair, reading: Reading) -> _Cell:
    image, marked = (reading.decode_image(source.read(), source.name) for source in (pair.image, pair.mask))
    assert reading.marking is not None
    mark = reading.marking.find(image, marked, pair.finding, pair.mask.name)
    scale = _CELL / max(mark.lesion.shape)
    size = tuple(max(1, round(edge * scale)) for edge in mark.lesion.shape[::-1])
    mask = cv2.merge([mark.lesion.view(np.uint8) * np.uint8(255)] * 3)
    caption = (
        f"{with_finding(pair.id, pair.finding)}: {mark.lesion.mean():.2%} marked, differences above {mark.threshold}"
    )
    return _Cell([cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (image, marked, mask)], caption)
