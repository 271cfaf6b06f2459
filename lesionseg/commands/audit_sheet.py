"""The contact sheet of twins: those in several splits first, then those that are least certain."""

from collections.abc import Sequence

from lesionseg.cli import one_line
from lesionseg.data.twins.find import EVIDENCE, Twins
from lesionseg.data.twins.listing import Photograph
from lesionseg.pixels.pictures import read_image
from lesionseg.pixels.sheets import Cell, fit_cell, picture_sheet
from lesionseg.workers import map_files

MOST_PAIRS = 40
_COLUMNS = 4  # of pairs
_LONGEST = 30  # characters of an id


def pairs_sheet(
    photographs: Sequence[Photograph], twins: Sequence[Twins], crossing: Sequence[Twins], workers: int | None = None
) -> bytes:
    """Show twins side by side; of many, the first 40 in that order.

    Args:
        photographs: all images.
        twins: at least one pair of them.
        crossing: those of them that lead from one split to another.
        workers: how many threads work; None for one a core.

    Returns:
        A JPEG file.
    """
    first = {(pair.one, pair.other) for pair in crossing}

    def order(pair: Twins) -> tuple:
        certain = pair.similarity.inliers if pair.similarity else 0
        return (pair.one, pair.other) not in first, -EVIDENCE.index(pair.evidence), certain

    def cell(pair: Twins) -> Cell:
        one, other = photographs[pair.one], photographs[pair.other]
        names = " | ".join(f"{_short(each.id)} {each.split}".rstrip() for each in (one, other))
        return Cell([fit_cell(read_image(each.path)) for each in (one, other)], f"{names}\n{_describe(pair)}")

    shown = sorted(twins, key=order)[:MOST_PAIRS]
    cells = list(map_files(cell, shown, workers=workers))
    return picture_sheet(cells, min(_COLUMNS, len(cells)), ("one", "other"))


def _describe(pair: Twins) -> str:
    moved = pair.similarity
    if moved is None:
        return {"bytes": "the same file", "pixels": "the same pixels", "id": "the same id only"}[pair.evidence]
    turned = f", turned {moved.degrees:.0f}\N{DEGREE SIGN}" * (abs(moved.degrees) >= 0.5)
    return f"{moved.inliers} features agree{turned}, {moved.scale:.2f}x{', mirrored' * moved.mirrored}"


def _short(id: str) -> str:
    id = one_line(id)
    return id if len(id) <= _LONGEST else f"\N{HORIZONTAL ELLIPSIS}{id[1 - _LONGEST :]}"
