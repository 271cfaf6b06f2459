"""predictions.csv: it grows with the run, so that one that was ended half-way is taken up again."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import Any, get_args

import cv2
import numpy as np

from lesionseg.errors import DataError, first_names
from lesionseg.files import write_text
from lesionseg.inference.finder import Prediction
from lesionseg.inference.inputs import Input
from lesionseg.pixels.masks import count_components
from lesionseg.tables import csv_text

TABLE = "predictions.csv"
# Beside the table until all images are in it: what was run.
UNFINISHED = "predictions.unfinished.json"
_DIGITS = 6


@dataclass(frozen=True)
class Row:
    """One predicted image, a row of `predictions.csv`.

    Attributes:
        id: what its outputs begin with.
        image: path of the file.
        width, height: pixels of the upright image.
        lesion_share: lesion pixels / all pixels of the mask, in [0, 1].
        box_x, box_y, box_width, box_height: the smallest box around the whole lesion, in pixels from the left upper
            corner; None without a lesion.
        score: of Mask R-CNN, that of the best-scored instance; else the mean probability in the mask. None without a
            lesion.
        components: 8-connected components of the mask.
        seconds: of the model and what follows until the mask, without reading and writing; a batch's are shared.
    """

    id: str
    image: str
    width: int
    height: int
    lesion_share: float
    box_x: int | None
    box_y: int | None
    box_width: int | None
    box_height: int | None
    score: float | None
    components: int
    seconds: float


_HEADER = [field.name for field in fields(Row)]


def describe(image: Input, prediction: Prediction, seconds: float) -> Row:
    """Measure a prediction; see `Row`."""
    lesion = prediction.mask.view(np.uint8)
    height, width = lesion.shape
    pixels = cv2.countNonZero(lesion)
    box: Sequence[int | None] = cv2.boundingRect(lesion) if pixels else (None,) * 4
    score = None
    if pixels:
        scores = prediction.scores
        score = float(scores.max()) if scores is not None else cv2.mean(prediction.probability, lesion)[0]
    return Row(
        image.id,
        str(image.path),
        width,
        height,
        pixels / lesion.size,
        box[0],
        box[1],
        box[2],
        box[3],
        score,
        count_components(lesion),
        seconds,
    )


class GrowingTable:
    """The table of a run that is going on; see `open_table`.

    Attributes:
        rows: by image id, those of an earlier run that this one takes up, and what was added.
        finished: whether the run has come to its end with every image in it.
    """

    def __init__(self, folder: Path, rows: Mapping[str, Row]) -> None:
        self.rows = dict(rows)
        self.finished = False
        self._lock = Lock()
        write_text(folder / TABLE, csv_text(_HEADER, map(asdict, rows.values()), _DIGITS))
        self._file = (folder / TABLE).open("a", encoding="utf-8", errors="backslashreplace", newline="")

    def add(self, row: Row) -> None:
        """Write a row at once, so that it is there whatever comes; from any thread."""
        text = csv_text(_HEADER, [asdict(row)], _DIGITS).partition("\n")[2]
        with self._lock:
            self._file.write(text)
            self._file.flush()
            self.rows[row.id] = row

    def close(self) -> None:
        self._file.close()


@contextmanager
def open_table(
    folder: Path, run: Mapping[str, object], images: Sequence[Input], endings: Sequence[str], overwrite: bool
) -> Iterator[GrowingTable]:
    """Begin the table of a run, or take up that of an earlier one that was ended before its end.

    When the block ends, the rows stand in the order of the images; nothing is left where there are none.

    Args:
        folder: that is written to.
        run: what decides what is found, by a name for a message; JSON.
        images: all that were asked for.
        endings: of the files that every image in the table has.
        overwrite: begin anew, whatever is there.

    Raises:
        DataError: an earlier run that was ended had other images or settings.
        OSError: the table cannot be written.
    """
    taken = {} if overwrite or not is_unfinished(folder) else _take_up(folder, run, images, endings)
    write_text(folder / UNFINISHED, json.dumps(run, indent=2) + "\n")
    table = None
    try:
        table = GrowingTable(folder, taken)
        yield table
    finally:
        if table is not None:
            table.close()
        if table is None or not table.rows:
            (folder / TABLE).unlink(missing_ok=True)
        else:
            rows = [table.rows[image.id] for image in images if image.id in table.rows]
            write_text(folder / TABLE, csv_text(_HEADER, map(asdict, rows), _DIGITS))
        if table is None or not table.rows or table.finished:
            (folder / UNFINISHED).unlink(missing_ok=True)


def is_unfinished(folder: Path) -> bool:
    """Whether a run that wrote into a folder was ended before its end."""
    return (folder / UNFINISHED).is_file()


def _take_up(
    folder: Path, run: Mapping[str, object], images: Sequence[Input], endings: Sequence[str]
) -> dict[str, Row]:
    """Read the rows of an earlier run whose files are all there. Raises DataError where the run was another."""
    advice = "choose another --out, or begin anew with --overwrite."
    try:
        earlier = json.loads((folder / UNFINISHED).read_text("utf-8"))
        changed = [name for name in {**run, **earlier} if earlier.get(name) != json.loads(json.dumps(run.get(name)))]
    except (ValueError, TypeError, AttributeError, RecursionError):
        changed = ["settings that cannot be read"]
    if changed:
        raise DataError(
            f"{folder}: holds a run that was ended before its end, with other settings ({first_names(changed)}), "
            f"expected those of now. Give the same again, {advice}"
        )
    asked = {(_written(image.id), _written(str(image.path))): image for image in images}
    rows = _read_rows(folder / TABLE)
    if others := [row.id for row in rows if (row.id, row.image) not in asked]:
        raise DataError(
            f"{folder}: holds a run that was ended before its end, of {len(others)} other images "
            f"({first_names(others)}), expected those of now. Give the same INPUT again, {advice}"
        )
    return {
        image.id: row
        for row, image in ((row, asked[row.id, row.image]) for row in rows)
        if all(_is_newer(folder / f"{image.id}{ending}", image.path) for ending in endings)
    }


def _is_newer(output: Path, image: Path) -> bool:
    """Whether an output is there, and its image has not been replaced or changed since."""
    try:
        return output.is_file() and output.stat().st_mtime >= image.stat().st_ctime
    except OSError:
        return False


def _read_rows(path: Path) -> list[Row]:
    """Read the rows that were written whole; where a run was killed, the last may be cut off."""
    text = path.read_text("utf-8", errors="replace") if path.is_file() else ""
    reader = csv.DictReader(StringIO(text[: text.rfind("\n") + 1], newline=""))
    rows = []
    try:
        for line in reader:
            rows += _read_row(line)
    except csv.Error:
        pass
    return rows


def _read_row(line: Mapping[str, str]) -> list[Row]:
    values: dict[str, Any] = {}
    try:
        for field in fields(Row):
            text = line[field.name]
            kind = (get_args(field.type) or (field.type,))[0]
            values[field.name] = None if text == "" and type(None) in get_args(field.type) else kind(text)
    except (KeyError, ValueError, TypeError):
        return []
    return [Row(**values)]


def _written(text: str) -> str:
    """A name as it stands in the table, where bytes that are no text are escaped."""
    return text.encode(errors="backslashreplace").decode()
