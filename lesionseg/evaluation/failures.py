"""Does a method know when it fails? Numbers that say how sure it is, against the Jaccard that its masks have."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from lesionseg.evaluation.meanings import words
from lesionseg.evaluation.resampling import CONFIDENCE, FEWEST, interval, interval_text, times_drawn
from lesionseg.evaluation.results import ImageResult
from lesionseg.evaluation.scores import JACCARD_THRESHOLD
from lesionseg.tables import Grid

EXPECTED = "expected_jaccard"
# The share of the images, those of the least confidence, that a person looks at.
LEFT_OUT = 0.1
_INTERVAL = f"{CONFIDENCE:.0%} interval"


@dataclass(frozen=True)
class Judged:
    """How well a number tells good masks from bad ones.

    Attributes:
        auroc: how often it is higher on an image at or above the threshold than on one below; 0.5 is chance. None
            where all images are on one side.
        auroc_low, auroc_high: bounds of its 95 % bootstrap interval; None of too few images on one side.
        aurc: area under the risk-coverage curve, see `risks`; less is better.
        threshold_jaccard: mean over the images that are left when those of the least confidence go to a person.
    """

    auroc: float | None
    auroc_low: float | None
    auroc_high: float | None
    aurc: float
    threshold_jaccard: float


@dataclass(frozen=True)
class Failures:
    """What a report says of it.

    Attributes:
        images: how many were judged.
        failed: of them, those with a Jaccard below 0.65.
        threshold_jaccard: mean over all.
        aurc_of_chance, aurc_at_best: of numbers that say nothing, and of the Jaccard itself.
        by: number -> how well it tells.
    """

    images: int
    failed: int
    threshold_jaccard: float
    aurc_of_chance: float
    aurc_at_best: float
    by: Mapping[str, Judged]

    def as_json(self) -> dict:
        """As it stands in `report.json`."""
        return dict(threshold=JACCARD_THRESHOLD, left_to_a_person=LEFT_OUT, **asdict(self))


def judge(table: Sequence[ImageResult]) -> Failures | None:
    """Judge the numbers that all images have; None where there are none."""
    names = numbers_of_all(table)
    if not names:
        return None
    jaccard = np.array([row.scores["jaccard"] for row in table])
    passed = np.array([row.scores["threshold_jaccard"] for row in table])
    by = {name: _judge(np.array([row.numbers[name] for row in table]), jaccard, passed) for name in names}
    return Failures(
        images=len(table),
        failed=int(np.count_nonzero(jaccard < JACCARD_THRESHOLD)),
        threshold_jaccard=float(passed.mean()),
        aurc_of_chance=float(1 - jaccard.mean()),
        aurc_at_best=float(risks(jaccard, jaccard).mean()),
        by=by,
    )


def numbers_of_all(table: Sequence[ImageResult]) -> list[str]:
    """The names of the numbers that every image has, in the order of the first one's."""
    return [name for name in table[0].numbers if all(name in row.numbers for row in table)]


def with_expected(table: Sequence[ImageResult], expected: Sequence[float | None]) -> list[ImageResult]:
    """Add the Jaccard that was expected of each image to its numbers, if one was."""
    return [
        row if value is None else replace(row, numbers={**row.numbers, EXPECTED: value})
        for row, value in zip(table, expected, strict=True)
    ]


def _judge(confidence: np.ndarray, jaccard: np.ndarray, passed: np.ndarray) -> Judged:
    failed = jaccard < JACCARD_THRESHOLD
    value = auroc(failed, confidence)
    low, high = auroc_interval(failed, confidence)
    kept = _by_confidence(confidence, passed)[: len(passed) - round(LEFT_OUT * len(passed))]
    aurc = float(risks(confidence, jaccard).mean())
    return Judged(None if math.isnan(value) else value, low, high, aurc, float(kept.mean()))


def auroc(failed: np.ndarray, confidence: np.ndarray) -> float:
    """The area under the ROC curve: how often an image that did not fail has more confidence than one that did.

    It is the Mann-Whitney statistic, in which equal confidences count one half.

    Args:
        failed: (N,) bool.
        confidence: (N,) float64.

    Returns:
        0..1, or NaN where none or all failed.

    Example:
        >>> auroc(np.array([True, False, True, False]), np.array([0.1, 0.4, 0.5, 0.9]))
        0.75
    """
    return float(_weighted_auroc(failed, confidence, np.ones((1, len(failed))))[0])


def auroc_interval(failed: np.ndarray, confidence: np.ndarray) -> tuple[float, float] | tuple[None, None]:
    """Bound `auroc` by resampled images; resamples in which none or all failed are left out.

    Returns:
        both bounds; None where fewer than `FEWEST` images failed, or did not.
    """
    fewest = _fewest(int(np.count_nonzero(failed)), len(failed))
    if fewest < FEWEST:
        return None, None
    resampled = [_weighted_auroc(failed, confidence, drawn) for drawn in times_drawn(len(failed))]
    return interval(np.concatenate(resampled), fewest)


def _fewest(failed: int, images: int) -> int:
    """How many images there are on the side of the threshold that has fewer."""
    return min(failed, images - failed)


def risks(confidence: np.ndarray, jaccard: np.ndarray) -> np.ndarray:
    """The risk-coverage curve: what is lost of the Jaccard where only the most confident images are kept.

    Its mean is the area under it (Geifman, Uziel, El-Yaniv 2019, arXiv 1805.08206). Images of equal confidence are
    taken as if each had their mean.

    Args:
        confidence: (N,) float64.
        jaccard: (N,) float64, 0..1.

    Returns:
        (N,) float64, of 1 to N images kept, the mean of 1 - Jaccard over them.

    Example:
        >>> risks(np.array([0.2, 0.9]), np.array([0.5, 1.0]))
        array([0.  , 0.25])
    """
    return np.cumsum(1 - _by_confidence(confidence, jaccard)) / np.arange(1, len(jaccard) + 1)


def _by_confidence(confidence: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sort values by falling confidence; those of equal confidence are replaced by their mean."""
    _, group, times = np.unique(-confidence, return_inverse=True, return_counts=True)
    return np.repeat(np.bincount(group, values) / times, times)


def _weighted_auroc(failed: np.ndarray, confidence: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`auroc` of images that occur so many times, (R, N) -> (R,) float64."""
    places, group = np.unique(confidence, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(places)))
    bad, good = (np.add.reduceat((times * kind)[:, order], starts, axis=1) for kind in (failed, ~failed))
    below = np.cumsum(bad, axis=1) - bad / 2
    pairs = bad.sum(1) * good.sum(1)
    with np.errstate(invalid="ignore"):
        return np.where(pairs > 0, (good * below).sum(1), np.nan) / pairs


def failure_grid(failures: Failures) -> Grid:
    """Set a number below the other, for a terminal or a page."""
    cells = []
    for name, judged in failures.by.items():
        value = "-" if judged.auroc is None else f"{judged.auroc:.3f}"
        bounds = interval_text(judged.auroc_low, judged.auroc_high, ".3f")
        cells.append([words(name), value, bounds, f"{judged.aurc:.3f}", f"{judged.threshold_jaccard:.3f}"])
    title = (
        f"Does it know when it fails? {failures.failed} of {failures.images} images have a Jaccard below "
        f"{JACCARD_THRESHOLD}"
    )
    if _fewest(failures.failed, failures.images) < FEWEST:
        title += f"; an interval takes {FEWEST} or more on either side"
    rest = f"threshold Jaccard of the surest {1 - LEFT_OUT:.0%}"
    cells += [
        ["the Jaccard itself", "-", "-", f"{failures.aurc_at_best:.3f}", "-"],
        ["chance", "0.500", "-", f"{failures.aurc_of_chance:.3f}", f"{failures.threshold_jaccard:.3f}"],
    ]
    return Grid(["number", "AUROC", _INTERVAL, "AURC", rest], cells, title, ("number", _INTERVAL, rest))
