"""How good a mask is, told without the truth: what a method is sure of, and the Jaccard that this lets expect.

A number says more of an image the higher it is. An isotonic map, fitted on images whose truth is known, makes of all
numbers together the Jaccard index that may be expected of the mask.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, pairwise
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lesionseg.engine.screen import screen
from lesionseg.errors import DataError
from lesionseg.files import file_sha256, write_text

# What the numbers are called; what each says stands in `lesionseg.evaluation.meanings`.
SOFT_DICE, FLIPS, MEMBERS, SCORE = "soft_dice", "flips", "members", "score"
# Of the skin, Mask2Former's soft mask keeps a ground level; summed up over all skin it would outweigh the lesion. Tried
# on 121 images with two Mask2Formers and a SegFormer: AUROC 0.89, 0.90 and 0.91; with all of it 0.67, 0.84 and 0.91.
_GROUND = 0.4
# A map is of predictions made in one of these ways.
ALONE, WITH_TTA = "alone", "tta"
FEWEST = 20
_FOLDS = 5
_DIGITS = 12  # of a SHA-256
_FIT = "it again: tools/test.py MODEL --split validation --fit-quality."
_AFRESH = f"Remove it, and fit {_FIT}"


def soft_dice(probability: np.ndarray, mask: np.ndarray) -> float:
    """Compare a mask y with the soft mask p that it was cut from: 2 sum(p y) / (sum p + sum y), p from 0.4 on.

    Args:
        probability: (H, W) float32, 0..1.
        mask: (H, W) bool.

    Returns:
        0..1; 0 for an empty mask.

    Example:
        >>> soft_dice(np.float32([[1, 0.5, 0.1]]), np.array([[True, True, False]]))
        0.8571428571428571
    """
    lesion = mask.view(np.uint8)
    pixels = cv2.countNonZero(lesion)
    if not pixels:
        return 0.0
    inside = cv2.mean(probability, lesion)[0] * pixels
    # A byte a pixel, where a copy of the soft mask would take four.
    counted = (probability > _GROUND).view(np.uint8)
    return min(1.0, 2 * inside / (cv2.mean(probability, counted)[0] * cv2.countNonZero(counted) + pixels))


def mean_pairwise_dice(masks: Sequence[np.ndarray]) -> float:
    """How far several masks of one image agree: the mean Dice over all pairs.

    Args:
        masks: (H, W) bool each, at least two.

    Returns:
        0..1; a pair of empty masks agrees.
    """
    areas = [int(np.count_nonzero(mask)) for mask in masks]
    values = [
        2 * int(np.count_nonzero(masks[one] & masks[other])) / both if (both := areas[one] + areas[other]) else 1.0
        for one, other in combinations(range(len(masks)), 2)
    ]
    return sum(values) / len(values)


@dataclass(frozen=True)
class QualityMap:
    """Makes of an image's numbers the Jaccard index that may be expected of its mask.

    Each number has a rising curve, an isotonic regression of the Jaccard on it; what they say is averaged.

    Attributes:
        curves: by number, its values in ascending order, and the Jaccard at each; straight between them.
        fitted_on: of each image that it was fitted on, the first digits of its bytes' SHA-256.
    """

    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    fitted_on: Sequence[str] = ()

    @classmethod
    def fit(
        cls, numbers: Mapping[str, np.ndarray], jaccard: np.ndarray, images: Sequence[str | PathLike]
    ) -> "QualityMap":
        """Fit a map to images whose Jaccard is known.

        Args:
            numbers: (N,) float64, by name.
            jaccard: (N,) float64, 0..1.
            images: the picture files, which are read once more.
        """
        curves = {name: _rising(values, jaccard) for name, values in numbers.items()}
        return cls(curves, sorted({fingerprint(image) for image in images}))

    def expected(self, numbers: Mapping[str, float]) -> float | None:
        """The Jaccard that may be expected, 0..1; None of an image without any of the numbers.

        Example:
            >>> QualityMap({"flips": ((0.5, 1.0), (0.3, 0.9))}).expected({"flips": 0.75})
            0.6
        """
        told = [float(np.interp(numbers[name], *curve)) for name, curve in self.curves.items() if name in numbers]
        return sum(told) / len(told) if told else None


def expected_of_others(numbers: Mapping[str, np.ndarray], jaccard: np.ndarray) -> np.ndarray:
    """What each image's Jaccard is expected to be by the images of the other four of five folds, (N,) float64."""
    fold = np.random.default_rng(0).permutation(len(jaccard)) % _FOLDS
    expected = np.empty(len(jaccard))
    for number in range(_FOLDS):
        own = fold == number
        others = QualityMap.fit({name: values[~own] for name, values in numbers.items()}, jaccard[~own], ())
        for index in np.flatnonzero(own):
            expected[index] = others.expected({name: values[index] for name, values in numbers.items()})
    return expected


def fingerprint(image: str | PathLike) -> str:
    """What a picture file is known by to a map."""
    return file_sha256(image)[:_DIGITS]


def quality_file(checkpoint: str | PathLike) -> Path:
    """Where the maps of a checkpoint, or of the card of an ensemble, lie: beside it."""
    return Path(checkpoint).with_suffix(".quality.json")


def read_quality(checkpoint: str | PathLike, sha256: str) -> dict[str, Any]:
    """Read the maps that were fitted for a checkpoint, as `open_map` takes them; none where none were.

    Those that were fitted for other weights, such as those of an earlier training, are left out with a note.

    Args:
        checkpoint: the file, or the card of an ensemble.
        sha256: of its bytes.

    Raises:
        DataError: the file beside it is damaged.
    """
    path = quality_file(checkpoint)
    maps, own = _read(path)
    if maps and own != sha256:
        screen.tell(
            f"{path}: left out, as it was fitted for other weights than those of {checkpoint}. Fit {_FIT}", "note"
        )
        return {}
    return maps


def _read(path: Path) -> tuple[dict[str, Any], str]:
    """The maps in a file, and the SHA-256 of the checkpoint that they are of; none where there is no file."""
    if not path.is_file():
        return {}, ""
    try:
        values = json.loads(path.read_text("utf-8"))
        maps, own = values["maps"], values["checkpoint_sha256"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path}: damaged ({type(error).__name__}: {error}), expected fitted maps. {_AFRESH}"
        ) from error
    if not is_quality(maps):
        raise DataError(f"{path}: damaged, expected fitted maps. {_AFRESH}")
    return maps, own


def write_quality(checkpoint: str | PathLike, tta: bool, fitted: QualityMap) -> Path:
    """Write the map of a checkpoint beside it, and keep that of predictions made in the other way; the file's path."""
    path, sha256 = quality_file(checkpoint), file_sha256(checkpoint)
    maps, own = _read(path)
    kept = maps if own == sha256 else {}
    values = dict(checkpoint=Path(checkpoint).name, checkpoint_sha256=sha256, maps=kept | {_way(tta): asdict(fitted)})
    write_text(path, json.dumps(values, indent=2) + "\n")
    return path


def open_map(maps: Mapping[str, Any], tta: bool) -> QualityMap | None:
    """The map of predictions that are made with test-time flips, or without; None where there is none."""
    return QualityMap(**maps[_way(tta)]) if _way(tta) in maps else None


def is_quality(maps: object) -> bool:
    """Whether a value from JSON holds maps, by the way that predictions are made in."""
    return isinstance(maps, dict) and set(maps) <= {ALONE, WITH_TTA} and all(map(_is_map, maps.values()))


def _is_map(value: object) -> bool:
    if not isinstance(value, dict) or set(value) != {"curves", "fitted_on"} or not isinstance(value["curves"], dict):
        return False
    known = value["fitted_on"]
    return (
        isinstance(known, list)
        and all(isinstance(each, str) for each in known)
        and all(map(_is_curve, value["curves"].values()))
    )


def _is_curve(value: object) -> bool:
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 2
        or not all(isinstance(axis, (list, tuple)) for axis in value)
    ):
        return False
    places, heights = value
    # Neither NaN nor what Python counts among the numbers, `true`.
    numbers = all(type(each) in (int, float) and 0 <= each <= 1 for each in (*places, *heights))
    return len(places) == len(heights) > 0 and numbers and all(one <= other for one, other in pairwise(places))


def _way(tta: bool) -> str:
    return WITH_TTA if tta else ALONE


def _rising(values: np.ndarray, jaccard: np.ndarray) -> tuple[list[float], list[float]]:
    """Fit a curve that never falls: the ends of its level pieces."""
    # Not needed to predict.
    from scipy.optimize import isotonic_regression

    # One height for images of one value.
    places, which, times = np.unique(values, return_inverse=True, return_counts=True)
    heights = isotonic_regression(np.bincount(which, jaccard) / times, weights=times).x
    ends = np.flatnonzero(np.diff(heights, prepend=np.nan, append=np.nan) != 0)
    kept = np.unique(np.concatenate([ends[:-1], ends[1:] - 1]))
    return places[kept].tolist(), np.clip(heights[kept], 0, 1).tolist()
