"""Images on disk -> masks on disk and a table: read ahead, predicted in batches, written behind."""

import errno
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lesionseg.cli import describe_unforeseen, one_line, progress
from lesionseg.commands.instances import annotate, find_regions
from lesionseg.commands.outputs import Outputs
from lesionseg.commands.predictions import PredictionTable, Row, describe, open_share, open_table
from lesionseg.engine.processes import Processes
from lesionseg.errors import DataError, ModelError, is_out_of_memory
from lesionseg.files import clear_scratch, lock_folder, write_bytes
from lesionseg.inference.finder import Image, Prediction
from lesionseg.inference.inputs import Input
from lesionseg.inference.segmenter import Segmenter
from lesionseg.pixels.pictures import MAX_PIXELS, quiet_opencv, read_image
from lesionseg.system_errors import describe_system_error

_THREADS = 4
# Pixels that may wait to be predicted, and as many again to be written, unless it is one image: 3 bytes a pixel before,
# and 8 after.
_WAITING = 64 * 1024**2
# A batch of larger images would gain no speed, and hold all their predictions at once.
_PER_BATCH = 32 * 1024**2
# What the system says of one file and its name; whatever else it says of a file is true of the next one, too.
_OF_ONE_FILE = frozenset(
    (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY)
)


@dataclass(frozen=True)
class Predicted:
    """What came of a run, with what it has taken over of an earlier one.

    Attributes:
        rows: of `predictions.csv`, in the order of the images.
        instances: how many were found, by a model that finds some.
        crops: how many there are.
        faults: of the other images, a line each.
    """

    rows: list[Row]
    instances: int
    crops: int
    faults: list[str]


def predict_files(
    segmenter: Segmenter,
    images: Sequence[Input],
    outputs: Outputs,
    batch_size: int = 1,
    overwrite: bool = False,
    max_pixels: int = MAX_PIXELS,
    processes: Processes = Processes(),  # noqa: B008
) -> Predicted:
    """Predict images and write their outputs and the tables of them, each file whole or not at all.

    Up to `batch_size` images that follow one another and have the same size go through the model together. What
    cannot be predicted is told at once on stderr, and the others are done. The table grows with the run: one that was
    ended before its end, or could not predict some images, is taken up where it was.

    Args:
        segmenter: the model.
        images: what to predict.
        outputs: what to write.
        batch_size: images in one run of the model, less where they are large.
        overwrite: predict all, whatever an earlier run has left.
        max_pixels: of an image; a larger one is a fault.
        processes: that all call this and share the images out; the first one makes the tables of all.

    Returns:
        what came of the run; in other processes than the first one, of their share.

    Raises:
        DataError: another run writes into the folder, or an earlier one that was ended had other images or settings;
            or, a ModelError, the model itself fails before it has predicted anything; or another process has ended.
        OSError: the outputs cannot be written.
    """
    crops = outputs.crops
    run = dict(segmenter.settings(), overlay=outputs.overlay, probability=outputs.probability)
    # Left out where it is not asked for, as runs of earlier versions are taken up, too.
    if outputs.heatmap:
        run["heatmap"] = True
    if crops:
        run["crops"] = crops.settings()
    parts = [part for image in images for part in outputs.parts(image)]
    with ExitStack() as stack:

        def begin() -> list[Input]:
            """Open the table of the run, and find what is not in it."""
            stack.enter_context(lock_folder(outputs.folder, "predict"))
            if crops:
                stack.enter_context(lock_folder(crops.folder, "crops"))
            table = stack.enter_context(
                open_table(outputs.folder, run, parts, outputs.endings, crops, outputs.category, overwrite)
            )
            tables.append(table)
            rest = [image for image in images if any(part.id not in table.rows for part in outputs.parts(image))]
            _clear(images, outputs, rest)
            if table.rows:
                print(
                    f"note: {len(images) - len(rest)} of {len(images)} images were predicted by an earlier run and are "
                    "taken over; --overwrite predicts all again",
                    file=sys.stderr,
                )
            return rest

        tables: list[PredictionTable] = []
        rest = processes.share(processes.first(begin))
        if not processes.is_first:
            share = open_share(outputs.folder, crops, outputs.category, processes.rank)
            tables.append(stack.enter_context(share))
        (table,) = tables
        faults = _Faults(predicted=bool(table.rows))
        pool = ThreadPoolExecutor(_THREADS)
        try:
            with quiet_opencv():
                found = _predict_all(segmenter, rest, batch_size, max_pixels, pool, faults)
                done = _write_behind(found, outputs, table, pool, faults)
                for _ in progress(done, len(rest), "predicting") if processes.is_first else done:
                    pass
        finally:
            pool.shutdown(cancel_futures=True)
        if told := processes.gather(faults.told):
            faults.told = [fault for of_process in told for fault in of_process]
            table.take_in(parts)
        table.finished = not faults.told
        ids = [part.id for part in parts if part.id in table.rows]
        instances = sum(len(table.instances.get(id, [])) for id in ids)
        cut = sum(len(table.crops.get(id, [])) for id in ids)
        return Predicted([table.rows[id] for id in ids], instances, cut, faults.told)


def _clear(images: Sequence[Input], outputs: Outputs, rest: Sequence[Input]) -> None:
    """Remove what killed runs have left half-written, and earlier crops of what is predicted again: now there may be
    fewer."""
    folders = {path.parent for image in images for path in outputs.paths(image)}
    if outputs.crops:
        folders |= {(outputs.crops.folder / part.id).parent for image in images for part in outputs.parts(image)}
        for paths in outputs.crops.existing({part.id for image in rest for part in outputs.parts(image)}).values():
            for path in paths:
                path.unlink()
    for folder in folders:
        if folder.is_dir():
            clear_scratch(folder)


@dataclass
class _Faults:
    """What was wrong with images.

    Attributes:
        predicted: whether the model has predicted any image; one that cannot predict the first is at fault itself.
        told: a line for each image that was not predicted.
    """

    predicted: bool
    told: list[str] = field(default_factory=list)

    def tell(self, fault: str) -> None:
        """Keep and print a fault, if there is one."""
        if fault:
            self.told.append(fault)
            print(f"error: {one_line(fault)}", file=sys.stderr)


def _describe(image: Input, error: Exception) -> str:
    """Say in one line why an image was not predicted."""
    if isinstance(error, DataError):
        text = str(error)
        return text if text.startswith(f"{image.path}: ") else f"{image.path}: {text}"
    if is_out_of_memory(error):
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return (
            f"{image.path}: too large for the memory that is free ({reason}), expected an image that fits. End other "
            "programs, or make it smaller."
        )
    if isinstance(error, OSError) and error.strerror is not None:
        text = describe_system_error(error)
        return text if text.startswith(f"{image.path}: ") else f"{image.path}: cannot be written: {text}"
    return f"{image.path}: {describe_unforeseen(error)}"


@dataclass(frozen=True)
class _Read:
    """An image, or what is wrong with it."""

    input: Input
    image: np.ndarray | None = None
    fault: str = ""


@dataclass(frozen=True)
class _Found:
    """An image with its prediction."""

    input: Input
    image: np.ndarray
    prediction: Prediction
    seconds: float


def _predict_all(
    segmenter: Segmenter,
    images: Sequence[Input],
    batch_size: int,
    max_pixels: int,
    pool: ThreadPoolExecutor,
    faults: _Faults,
) -> Iterator[_Found | None]:
    """Give for every image its prediction, or None where a fault was told."""
    for batch in _batches(_read_ahead(images, pool, batch_size, max_pixels), batch_size):
        found, unusable = _predict_batch(segmenter, batch, faults)
        for read in unusable:
            faults.tell(read.fault)
            yield None
        while found:
            # Nothing here holds on to it, as its pixels may be many.
            yield found.pop(0)


def _read_ahead(
    images: Sequence[Input], pool: ThreadPoolExecutor, batch_size: int, max_pixels: int = MAX_PIXELS
) -> Iterator[_Read]:
    """Read images in order, a few of them before they are asked for, so that the model need not wait.

    How large an image is shows once it is decoded. Until then it is taken to be as large as the largest so far, and
    the first one for as large as all that may wait.
    """
    waiting: deque[Future[_Read]] = deque()
    rest = iter(images)
    largest = 0
    while True:
        sizes = [_pixels(future.result()) if future.done() else largest or _WAITING for future in waiting]
        while not waiting or (len(waiting) < batch_size + _THREADS and sum(sizes) + largest < _WAITING):
            image = next(rest, None)
            if image is None:
                break
            waiting.append(pool.submit(_read, image, max_pixels))
            sizes.append(largest or _WAITING)
        if not waiting:
            return
        read = waiting.popleft().result()
        largest = max(largest, _pixels(read))
        yield read


def _read(image: Input, max_pixels: int) -> _Read:
    try:
        return _Read(image, read_image(image.path, max_pixels))
    except Exception as error:  # One odd image, whatever is odd about it, is no reason not to do the others.
        return _Read(image, fault=_describe(image, error))


def _size(read: _Read) -> tuple[int, ...]:
    return (0, 0) if read.image is None else read.image.shape


def _pixels(read: _Read) -> int:
    height, width = _size(read)[:2]
    return height * width


def _batches(images: Iterable[_Read], batch_size: int) -> Iterator[list[_Read]]:
    """Group images of one size that follow one another, so that no image is padded for another's sake."""
    batch: list[_Read] = []
    for read in images:
        if batch and _size(read) != _size(batch[0]):
            yield batch
            batch = []
        batch.append(read)
        if read.image is None or len(batch) == batch_size or (len(batch) + 1) * _pixels(read) > _PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _predict_batch(segmenter: Segmenter, batch: Sequence[_Read], faults: _Faults) -> tuple[list[_Found], list[_Read]]:
    """Predict the images of a batch, of one size, or give back what cannot be predicted with its fault."""
    images = [Image(read.image, read.input.id) for read in batch if read.image is not None]
    if not images:
        return [], list(batch)
    started = time.perf_counter()
    try:
        predictions = segmenter.predict_batch(images)
    except Exception as error:  # As in `_read`.
        if isinstance(error, ModelError) and not faults.predicted:
            raise
        if len(batch) == 1:
            return [], [_Read(batch[0].input, fault=_describe(batch[0].input, error))]
        # There may be memory enough for each, and where one is odd, the others are not.
        alone = [_predict_batch(segmenter, [read], faults) for read in batch]
        return [one for found, _ in alone for one in found], [one for _, unusable in alone for one in unusable]
    faults.predicted = True
    seconds = (time.perf_counter() - started) / len(batch)
    found = [
        _Found(read.input, image.pixels, prediction, seconds)
        for read, image, prediction in zip(batch, images, predictions, strict=True)
    ]
    return found, []


def _write_behind(
    found: Iterable[_Found | None], outputs: Outputs, table: PredictionTable, pool: ThreadPoolExecutor, faults: _Faults
) -> Iterator[None]:
    """Write outputs and rows while the next images are predicted; give None for each image that is done or told."""
    waiting: deque[tuple[int, Future[str]]] = deque()
    for one in found:
        if one is None:
            yield
            continue
        waiting.append((one.prediction.mask.size, pool.submit(_write, one, outputs, table)))
        del one
        while waiting and (waiting[0][1].done() or sum(size for size, _ in waiting) > _WAITING):
            faults.tell(waiting.popleft()[1].result())
            yield
    for _, future in waiting:
        faults.tell(future.result())
        yield


def _write(found: _Found, outputs: Outputs, table: PredictionTable) -> str:
    """Write an image's outputs, all or none, and then its row; say what is wrong with it, if anything is.

    Raises:
        OSError: it is not about this image alone.
    """
    written: list[Path] = []
    try:
        files, rows = [], []
        for part, one in zip(outputs.parts(found.input), found.prediction.parts, strict=True):
            regions = find_regions(one) if outputs.crops or outputs.category else []
            cut = outputs.crops.cut(part, found.image, regions) if outputs.crops else []
            files += [(path, content) for path, _, content in cut]
            instances = annotate(part, regions, outputs.category) if outputs.category else []
            rows.append((describe(part, one, found.seconds), [row for _, row, _ in cut], instances))
        # A model of instances tells no findings apart.
        files += outputs.encode(found.input, found.image, found.prediction, regions)
        for path, content in files:
            write_bytes(path, content)
            written.append(path)
        for row, crop_rows, instances in rows:
            table.add(row, crop_rows, instances)
    except Exception as error:  # As in `_read`.
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno not in _OF_ONE_FILE:
            raise
        return _describe(found.input, error)
    return ""
