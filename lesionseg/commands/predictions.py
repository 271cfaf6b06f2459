"""predictions.csv: it grows with the run, so that one that was ended half-way is taken up again."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path, PurePath
from typing import NamedTuple

import cv2
import numpy as np

from lesionseg.commands.crops import CROP_TABLE, CropRow, Crops
from lesionseg.commands.growing_table import GrowingTable, read_rows
from lesionseg.commands.instances import (
    INSTANCE_COCO,
    INSTANCE_TABLE,
    INSTANCES_UNFINISHED,
    AnnotatedRow,
    rows_by_id,
    write_instances,
)
from lesionseg.errors import DataError, first_names
from lesionseg.evaluation.scores import JACCARD_THRESHOLD
from lesionseg.files import write_text
from lesionseg.inference.finder import Prediction
from lesionseg.inference.inputs import Input
from lesionseg.inference.quality import FLIPS, MEMBERS, SOFT_DICE
from lesionseg.pixels.masks import count_components

TABLE = "predictions.csv"
# Beside the table until all images are in it: what was run.
UNFINISHED = "predictions.unfinished.json"


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
        soft_dice, flips, members: how sure the model is of the mask as a whole, see `lesionseg.inference.quality`; None
            where it does not tell.
        expected_jaccard: what that lets expect, 0..1; None where nothing was fitted for the model.
        doubtful: 1 where it is below 0.65, so that a person should look at the image, else 0; None as before.
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
    soft_dice: float | None = None
    flips: float | None = None
    members: float | None = None
    expected_jaccard: float | None = None
    doubtful: int | None = None


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
        prediction.numbers.get(SOFT_DICE),
        prediction.numbers.get(FLIPS),
        prediction.numbers.get(MEMBERS),
        prediction.expected_jaccard,
        None if prediction.expected_jaccard is None else int(prediction.expected_jaccard < JACCARD_THRESHOLD),
    )


class PredictionTable:
    """The tables of a run that is going on, or of one of its processes; see `open_table` and `open_share`.

    Attributes:
        rows: by image id, those of an earlier run that this one takes up, and what was added.
        crops: theirs, where crops are cut.
        instances: theirs, of a model that finds some.
        finished: whether the run has come to its end with every image in it.
    """

    def __init__(self, folder: Path, crops: Crops | None, category: str, earlier: "Earlier", process: int = 0) -> None:
        self.rows = dict(earlier.rows)
        self.crops = dict(earlier.crops)
        self.instances = dict(earlier.instances)
        self.finished = False
        self._folder, self._cut, self._category = folder, crops, category
        files = _files(folder, self._cut, process)
        self._rows = GrowingTable(files.rows, Row, self.rows.values())
        self._crops = GrowingTable(files.crops, CropRow, chain(*self.crops.values())) if files.crops else None
        self._instances = None
        if category:
            self._instances = GrowingTable(files.instances, AnnotatedRow, chain(*self.instances.values()))
            for name in (INSTANCE_TABLE, INSTANCE_COCO) if process == 0 else ():
                (folder / name).unlink(missing_ok=True)

    def add(self, row: Row, crops: Sequence[CropRow], instances: Sequence[AnnotatedRow]) -> None:
        """Write the row of an image, and before it those of its crops and its instances; from any thread."""
        if self._crops:
            self._crops.add(crops)
            self.crops[row.id] = list(crops)
        if self._instances:
            self._instances.add(instances)
            self.instances[row.id] = list(instances)
        self._rows.add([row])
        self.rows[row.id] = row

    def take_in(self, images: Iterable[Input]) -> None:
        """Add what the other processes of the run have written of these images."""
        asked = _by_written_name(images)
        for files in _shares(self._folder, self._cut):
            for row, crops, instances in _with_parts(read_rows(files.rows, Row), files, self._category, asked):
                self.add(row, crops, instances)
        _remove_shares(self._folder, self._cut)

    def leave(self) -> None:
        """Let the rows stand as they were added."""
        for table in (self._rows, self._crops, self._instances):
            if table:
                table.leave()

    def close(self, ids: Iterable[str]) -> None:
        """Set the rows in the order of these ids; nothing is left where there are none."""
        done = [id for id in ids if id in self.rows]
        self._rows.close([self.rows[id] for id in done] if done else None)
        if self._crops:
            self._crops.close([crop for id in done for crop in self.crops.get(id, [])] if done else None)
        if self._instances:
            rows = [row for id in done for row in self.instances.get(id, [])]
            self._instances.close(None if self.finished or not done else rows)
            if done:
                images = {id: _coco_image(self.rows[id]) for id in done}
                write_instances(self._folder, images, self.instances, self._category)


class _Files(NamedTuple):
    """Where a process of a run writes its rows."""

    rows: Path
    crops: Path | None
    instances: Path


def _files(folder: Path, crops: Crops | None, process: int) -> _Files:
    """The tables of a process: the first one's are those of the run, the others' stand beside them until its end."""
    names = [TABLE, CROP_TABLE, INSTANCES_UNFINISHED]
    if process:
        names = [f"{name.partition('.')[0]}.unfinished.{process}.csv" for name in names]
    return _Files(folder / names[0], crops.folder / names[1] if crops else None, folder / names[2])


def _shares(folder: Path, crops: Crops | None) -> list[_Files]:
    """The tables of all processes but the first one that have left some."""
    numbers = [int(path.suffixes[-2][1:]) for path in folder.glob("predictions.unfinished.*[0-9].csv")]
    return [_files(folder, crops, number) for number in sorted(numbers)]


def _remove_shares(folder: Path, crops: Crops | None) -> None:
    for file in chain(*_shares(folder, crops)):
        if file:
            file.unlink(missing_ok=True)


class Earlier(NamedTuple):
    """What an earlier run has left, by image id; see `PredictionTable`."""

    rows: dict[str, Row]
    crops: dict[str, list[CropRow]]
    instances: dict[str, list[AnnotatedRow]]


def _coco_image(row: Row) -> dict[str, str | int]:
    return dict(file_name=f"{row.id}{PurePath(row.image).suffix}", height=row.height, width=row.width)


@contextmanager
def open_table(
    folder: Path,
    run: Mapping[str, object],
    images: Sequence[Input],
    endings: Sequence[str],
    crops: Crops | None,
    category: str,
    overwrite: bool,
) -> Iterator[PredictionTable]:
    """Begin the table of a run, or take up that of an earlier one that was ended before its end.

    When the block ends, the rows stand in the order of the images; nothing is left where there are none.

    Args:
        folder: that is written to.
        run: what decides what is found, by a name for a message; JSON.
        images: all that were asked for.
        endings: of the files that every image in the table has.
        crops: how they are cut, if they are; their table begins and ends with this one.
        category: of the instances that the model finds; empty where it finds none. So do their tables.
        overwrite: begin anew, whatever is there.

    Raises:
        DataError: an earlier run that was ended had other images or settings.
        OSError: the table cannot be written.
    """
    earlier = Earlier({}, {}, {})
    if not overwrite and is_unfinished(folder):
        earlier = _take_up(folder, run, images, endings, crops, category)
    write_text(folder / UNFINISHED, json.dumps(run, indent=2) + "\n")
    table = None
    try:
        table = PredictionTable(folder, crops, category, earlier)
        # What other processes have left stands in it now, or is not wanted.
        _remove_shares(folder, crops)
        yield table
    finally:
        if table is not None:
            table.close(image.id for image in images)
        else:
            (folder / TABLE).unlink(missing_ok=True)
        if table is None or not table.rows or table.finished:
            (folder / UNFINISHED).unlink(missing_ok=True)


@contextmanager
def open_share(folder: Path, crops: Crops | None, category: str, process: int) -> Iterator[PredictionTable]:
    """Begin the table of another process of a run than the first; see `open_table`.

    It stays when the block ends: the first process takes it in, or else the next run, if this one has no end.

    Args:
        folder, crops, category: as for `open_table`.
        process: its number, from 1.
    """
    table = PredictionTable(folder, crops, category, Earlier({}, {}, {}), process)
    try:
        yield table
    finally:
        table.leave()


def is_unfinished(folder: Path) -> bool:
    """Whether a run that wrote into a folder was ended before its end."""
    return (folder / UNFINISHED).is_file()


def _take_up(
    folder: Path,
    run: Mapping[str, object],
    images: Sequence[Input],
    endings: Sequence[str],
    crops: Crops | None,
    category: str,
) -> Earlier:
    """Read the rows of an earlier run whose files are all there, and those of their crops and instances.

    Raises:
        DataError: the run was another.
    """
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
    asked = _by_written_name(images)
    earlier = Earlier({}, {}, {})
    places = [_files(folder, crops, 0), *_shares(folder, crops)]
    tables = [read_rows(files.rows, Row) for files in places]
    if others := [row.id for row in chain(*tables) if (row.id, row.image) not in asked]:
        raise DataError(
            f"{folder}: holds a run that was ended before its end, of {len(others)} other images "
            f"({first_names(others)}), expected those of now. Give the same INPUT again, {advice}"
        )
    read = (_with_parts(rows, files, category, asked) for rows, files in zip(tables, places, strict=True))
    for row, cut, found in chain.from_iterable(read):
        outputs = [folder / f"{row.id}{ending}" for ending in endings]
        if crops:
            outputs += [crops.folder / crops.name(row.id, crop.instance) for crop in cut]
        if all(_is_newer(file, Path(row.image)) for file in outputs):
            earlier.rows[row.id], earlier.crops[row.id], earlier.instances[row.id] = row, cut, found
    return earlier


def _with_parts(
    rows: Iterable[Row], files: _Files, category: str, asked: Mapping[tuple[str, str], Input]
) -> Iterator[tuple[Row, list[CropRow], list[AnnotatedRow]]]:
    """Give the rows that a process has written of its images, each with those of its crops and instances.

    Args:
        rows: of its images.
        files: its tables; where one that has to be is missing, nothing is known of any image.
        category: of the instances; empty for none.
        asked: the images by id and path, as they are written.
    """
    if (files.crops and not files.crops.is_file()) or (category and not files.instances.is_file()):
        return
    crops = rows_by_id(read_rows(files.crops, CropRow)) if files.crops else {}
    instances = rows_by_id(read_rows(files.instances, AnnotatedRow)) if category else {}
    for row in rows:
        image = asked[row.id, row.image]
        named = replace(row, id=image.id, image=str(image.path))
        yield named, crops.get(row.id, []), instances.get(row.id, [])


def _by_written_name(images: Iterable[Input]) -> dict[tuple[str, str], Input]:
    return {(_written(image.id), _written(str(image.path))): image for image in images}


def _is_newer(output: Path, image: Path) -> bool:
    """Whether an output is there, and its image has not been replaced or changed since."""
    try:
        return output.is_file() and output.stat().st_mtime >= image.stat().st_ctime
    except OSError:
        return False


def _written(text: str) -> str:
    """A name as it stands in the table, where bytes that are no text are escaped."""
    return text.encode(errors="backslashreplace").decode()
