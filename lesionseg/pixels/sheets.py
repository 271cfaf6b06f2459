"""A contact sheet: pictures that belong together side by side, under a caption."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib.figure import Figure

CELL = 300  # pixels of the longer edge of a picture

_GAP = 8
_CAPTION = 40
_INK = "#222222"
_DPI = 100


class Cell(NamedTuple):
    """Pictures that belong together.

    Attributes:
        pictures: (H, W, 3) uint8 BGR each, with edges up to `CELL`.
        caption: above them, in as many lines as there is place for.
    """

    pictures: list[np.ndarray]
    caption: str


def picture_sheet(cells: Sequence[Cell], columns: int, titles: Sequence[str]) -> bytes:
    """Set cells of as many pictures in lines of so many columns.

    Args:
        cells: at least one.
        columns: of cells.
        titles: of the pictures of a cell.

    Returns:
        A JPEG file.
    """
    wide = len(titles)
    block = wide * (max(picture.shape[1] for cell in cells for picture in cell.pictures) + _GAP) + 2 * _GAP
    lines = [cells[first : first + columns] for first in range(0, len(cells), columns)]
    heights = [_CAPTION + max(picture.shape[0] for cell in line for picture in cell.pictures) for line in lines]
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
                x, y = left + place * (block - 2 * _GAP) // wide, top + _CAPTION
                sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture[..., ::-1]
                if top == _CAPTION:
                    axes.text(x, _CAPTION / 2, titles[place], weight="bold", **style)
        top += height
    axes.imshow(sheet, aspect="auto")
    file = BytesIO()
    figure.savefig(file, format="jpeg", dpi=_DPI)
    return file.getvalue()


def fit_cell(picture: np.ndarray) -> np.ndarray:
    """Bring (H, W, 3) uint8 to the size that a cell has place for."""
    scale = CELL / max(picture.shape[:2])
    size = [max(1, round(edge * scale)) for edge in picture.shape[1::-1]]
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
