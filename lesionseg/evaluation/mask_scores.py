"""Masks against true masks, without a model: every file is read once, and all that is wrong is found first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from lesionseg.errors import DataError
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import Confusion
from lesionseg.pixels.masks import lesion_pixels, read_mask
from lesionseg.pixels.pictures import picture_size, quiet_opencv
from lesionseg.pixels.rle import pack_mask
from lesionseg.system_errors import describe_system_error
from lesionseg.workers import map_files

Found = TypeVar("Found")

_MOST_FAULTS = 5


@dataclass(frozen=True)
class MaskSet:
    """The masks of one image.

    Attributes:
        id: of the image.
        truth: the true mask.
        systems: the masks to be scored, in the order of the systems.
        image: None where there are masks alone.
    """

    id: str
    truth: Path
    systems: tuple[Path, ...]
    image: Path | None = None


def score_masks(sets: Sequence[MaskSet]) -> list[list[ImageResult]]:
    """Score the masks of every system.

    Args:
        sets: at least one, in the order of their ids, each with as many systems.

    Returns:
        A table a system, in the order of the sets.

    Raises:
        DataError: files that cannot be read, are no masks, or are of another size than the truth: their number, and
            the first five.
    """
    with quiet_opencv(threads=1):
        results = list(map_files(_score, sets, "scoring"))
    if faults := [fault for _, of_image in results for fault in of_image]:
        more = f" (these are the first {_MOST_FAULTS} of {len(faults)} faults)" * (len(faults) > _MOST_FAULTS)
        first = faults[:_MOST_FAULTS]
        raise DataError(*first[:-1], first[-1] + more)
    return [list(table) for table in zip(*(rows for rows, _ in results), strict=True)]


def _score(masks: MaskSet) -> tuple[list[ImageResult], list[str]]:
    """Score the masks of an image, or say what is wrong with its files."""
    faults: list[str] = []
    truth, *predictions = (_try(_read_lesion, path, faults) for path in (masks.truth, *masks.systems))
    if truth is not None:
        sizes = [(path, mask.shape) for path, mask in zip(masks.systems, predictions, strict=True) if mask is not None]
        if masks.image is not None and (size := _try(picture_size, masks.image, faults)):
            sizes.append((masks.image, size))
        for path, (height, width) in sizes:
            if (height, width) != truth.shape:
                faults.append(
                    f"{path}: {width}x{height} pixels, expected the {truth.shape[1]}x{truth.shape[0]} of the true mask "
                    f"{masks.truth}. Put the matching file there."
                )
    if faults:
        return [], faults
    image = None if masks.image is None else str(masks.image)
    return [
        ImageResult(masks.id, image, str(masks.truth), Confusion.from_masks(truth, prediction), pack_mask(prediction))
        for prediction in predictions
        if truth is not None and prediction is not None
    ], []


def _try(read: Callable[[Path], Found], path: Path, faults: list[str]) -> Found | None:
    """Read a file; where that fails, it is one of the faults."""
    try:
        return read(path)
    except DataError as error:
        faults.extend(map(str, error.args))
    except OSError as error:
        faults.append(describe_system_error(error))
    return None


def _read_lesion(path: Path) -> np.ndarray:
    return lesion_pixels(read_mask(path))
