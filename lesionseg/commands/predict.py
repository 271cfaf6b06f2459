"""Images on disk -> masks on disk and a table: read ahead, predicted in batches, written behind."""

import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np

from lesionseg.cli import progress
from lesionseg.data.names import LONGEST_NAME, is_too_long
from lesionseg.errors import DataError, first_names
from lesionseg.files import clear_scratch, write_bytes, write_text
from lesionseg.inference.finder import Image, Prediction
from lesionseg.inference.inputs import MASK, OVERLAY, PROBABILITY, Input, Inputs
from lesionseg.inference.segmenter import Segmenter
from lesionseg.pixels.masks import LESION_ABOVE, count_components, encode_mask
from lesionseg.pixels.outlines import outline_picture
from lesionseg.pixels.pictures import MAX_PIXELS, encode_jpeg, quiet_opencv, read_image
from lesionseg.tables import csv_text

TABLE = "predictions.csv"
_THREADS = 4
# Pixels that may wait to be predicted, and as many again to be written, unless it is one image: 3 bytes a pixel before,
# and 8 after.
_WAITING = 64 * 1024**2
# A batch of larger images would gain no speed, and hold all their predictions at once.
_PER_BATCH = 32 * 1024**2


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


@dataclass(frozen=True)
class Outputs:
    """What is written for every image beside its mask.

    Attributes:
        folder: where to; `<id>_segmentation.png`.
        overlay: the image with the lesion's outline, `<id>_overlay.jpg`.
        probability: the soft mask, `<id>_probability.png`, see `encode_probability`.
    """

    folder: Path
    overlay: bool = False
    probability: bool = False

    def paths(self, image: Input) -> dict[str, Path]:
        """The files of an image by what ends their names."""
        endings = [MASK, *[OVERLAY] * self.overlay, *[PROBABILITY] * self.probability]
        return {ending: self.folder / f"{image.id}{ending}" for ending in endings}

    def check(self, inputs: Inputs, overwrite: bool) -> None:
        """Find what is in the way before anything runs; nothing is written.

        Raises:
            DataError: the folder is no folder, lies in a folder of images, or holds earlier outputs and `overwrite`
                is not set; or a name would be too long.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise DataError(f"{self.folder}: a file, expected a folder for the masks. Choose another --out.")
        for folder in inputs.folders:
            if self.folder.resolve().is_relative_to(folder.resolve()):
                raise DataError(
                    f"{self.folder}: lies in {folder}, which is searched for images, expected a folder apart. Choose "
                    "another --out."
                )
        if long := [image.id[:50] for image in inputs.images if any(map(is_too_long, self.paths(image).values()))]:
            raise DataError(
                f"{self.folder}: {len(long)} outputs would have too long names ({first_names(long)}), expected "
                f"at most {LONGEST_NAME} bytes with their endings. Rename the images."
            )
        if overwrite:
            return
        wanted = [path for image in inputs.images for path in self.paths(image).values()] + [self.folder / TABLE]
        if there := [path.relative_to(self.folder).as_posix() for path in wanted if path.exists()]:
            raise DataError(
                f"{self.folder}: {len(there)} of {len(wanted)} outputs are there already ({first_names(there)}), "
                "expected none. Choose another --out, or replace them with --overwrite."
            )

    def open(self, images: Sequence[Input]) -> None:
        """Make the folder, clear what killed runs have left, and take away a table of other masks than there will be.

        Raises:
            OSError: it cannot be written to.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in {path.parent for image in images for path in self.paths(image).values()} | {self.folder}:
            if folder.is_dir():
                clear_scratch(folder)
        (self.folder / TABLE).unlink(missing_ok=True)
        with tempfile.TemporaryFile(dir=self.folder):
            pass


def predict_files(
    segmenter: Segmenter, images: Sequence[Input], outputs: Outputs, batch_size: int = 1, max_pixels: int = MAX_PIXELS
) -> tuple[list[Row], list[str]]:
    """Predict images and write their outputs and `predictions.csv`, each file whole or not at all.

    Up to `batch_size` images that follow one another and have the same size go through the model together. What
    cannot be read is told at once on stderr, and the others are done.

    Args:
        segmenter: the model.
        images: what to predict.
        outputs: what to write.
        batch_size: images in one run of the model, less where they are large.
        max_pixels: of an image; a larger one is a fault.

    Returns:
        the rows of `predictions.csv`, in the order of `images`, and the faults of the other images, a line each.

    Raises:
        OSError: the outputs cannot be written.
    """
    outputs.open(images)
    faults: list[str] = []
    pool = ThreadPoolExecutor(_THREADS)
    try:
        with quiet_opencv():
            found = _predict_all(segmenter, images, batch_size, max_pixels, pool, faults)
            written = progress(_write_behind(found, outputs, pool), len(images), "predicting")
            rows = [row for row in written if row]
    finally:
        pool.shutdown(cancel_futures=True)
    header = [field.name for field in fields(Row)]
    write_text(outputs.folder / TABLE, csv_text(header, map(asdict, rows), digits=6))
    return rows, faults


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
    faults: list[str],
) -> Iterator[_Found | None]:
    """Give for every image its prediction, or None where a fault was told."""
    for batch in _batches(_read_ahead(images, pool, batch_size, max_pixels), batch_size):
        found = _predict_batch(segmenter, batch)
        while found:
            if isinstance(found[0], _Read):
                faults.append(found[0].fault)
                print(f"error: {found.pop(0).fault}", file=sys.stderr)
                yield None
            else:
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
    except DataError as error:
        return _Read(image, fault=str(error))
    except OSError as error:
        return _Read(image, fault=f"{image.path}: {error.strerror}, expected a readable file. Check its permissions.")


def _pixels(read: _Read) -> int:
    return 0 if read.image is None else read.image.shape[0] * read.image.shape[1]


def _batches(images: Iterable[_Read], batch_size: int) -> Iterator[list[_Read]]:
    """Group images of one size that follow one another, so that no image is padded for another's sake."""
    batch: list[_Read] = []
    for read in images:
        if batch and (read.image is None or read.image.shape != batch[0].image.shape):
            yield batch
            batch = []
        batch.append(read)
        if read.image is None or len(batch) == batch_size or (len(batch) + 1) * _pixels(read) > _PER_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _predict_batch(segmenter: Segmenter, batch: Sequence[_Read]) -> list[_Found | _Read]:
    if batch[0].image is None:
        return list(batch)
    started = time.perf_counter()
    try:
        predictions = segmenter.predict_batch([Image(read.image, read.input.id) for read in batch])
    except DataError as error:
        # Something about the size, which they share.
        return [_Read(read.input, fault=f"{read.input.path}: {error}") for read in batch]
    except MemoryError:
        height, width = batch[0].image.shape[:2]
        fact = f"{width}x{height} pixels need more memory than is free, expected fewer"
        return [_Read(read.input, fault=f"{read.input.path}: {fact}. Shrink the image.") for read in batch]
    seconds = (time.perf_counter() - started) / len(batch)
    return [
        _Found(read.input, read.image, prediction, seconds) for read, prediction in zip(batch, predictions, strict=True)
    ]


def _write_behind(found: Iterable[_Found | None], outputs: Outputs, pool: ThreadPoolExecutor) -> Iterator[Row | None]:
    """Write outputs while the next images are predicted, and give their rows in order; None for None."""
    waiting: deque[tuple[int, Future[Row]]] = deque()
    for one in found:
        if one is None:
            yield None
            continue
        waiting.append((one.prediction.mask.size, pool.submit(_write, one, outputs)))
        del one
        while waiting and (waiting[0][1].done() or sum(size for size, _ in waiting) > _WAITING):
            yield waiting.popleft()[1].result()
    for _, future in waiting:
        yield future.result()


def _write(found: _Found, outputs: Outputs) -> Row:
    paths = outputs.paths(found.input)
    row = describe(found.input, found.prediction, found.seconds)
    write_bytes(paths[MASK], encode_mask(found.prediction.mask))
    if outputs.overlay:
        picture = outline_picture(found.image, prediction=found.prediction.mask)
        write_bytes(paths[OVERLAY], encode_jpeg(picture))
    if outputs.probability:
        write_bytes(paths[PROBABILITY], encode_probability(found.prediction.probability))
    return row


def describe(image: Input, prediction: Prediction, seconds: float) -> Row:
    """Measure a prediction; see `Row`."""
    lesion = prediction.mask.view(np.uint8)
    height, width = lesion.shape
    pixels = cv2.countNonZero(lesion)
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
        *(cv2.boundingRect(lesion) if pixels else (None,) * 4),
        score,
        count_components(lesion),
        seconds,
    )


def encode_probability(probability: np.ndarray) -> bytes:
    """Encode a soft mask as an 8-bit gray PNG, 0 = surely skin and 255 = surely lesion.

    Gray is 255 times the probability. Next to one half it is rounded to the side that the probability is on, so that
    gray above 128, which is what a lesion pixel is in a mask file, are exactly the probabilities above 0.5.

    Args:
        probability: (H, W) float32, 0..1.
    """
    gray = cv2.convertScaleAbs(probability, alpha=255)
    lesion = probability > 0.5
    np.maximum(gray, LESION_ABOVE + 1, out=gray, where=lesion)
    np.minimum(gray, LESION_ABOVE, out=gray, where=~lesion)
    done, data = cv2.imencode(".png", gray)
    assert done
    return data.tobytes()
