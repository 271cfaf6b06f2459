"""Scores as pure functions of pixel counts, in the official definitions.

Two kinds of score, which are different numbers:

- per image: computed for every image and then averaged over the images, as the ISIC challenge
  ranks submissions (isic-challenge-scoring 5.6, `metrics.py` and `segmentation.py`);
- pooled: the pixels of all images are counted together first, as MMSegmentation's IoUMetric does.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

PER_IMAGE = ("jaccard", "dice", "threshold_jaccard", "accuracy", "sensitivity", "specificity")
# As pixels are scored outside the challenge, whose sensitivity is recall and whose Jaccard is IoU.
LESION = ("precision", "recall", "accuracy", "dice", "iou")
POOLED = ("mIoU", "mDice", "aAcc", "IoU.background", "IoU.lesion", "Dice.background", "Dice.lesion")

# Below it the challenge of 2018 counts an image as failed (Codella et al. 2019, arXiv 1902.03368).
JACCARD_THRESHOLD = 0.65


@dataclass(frozen=True)
class Confusion:
    """How many pixels of an image, or of several, are lesion in the truth and in the prediction.

    Attributes:
        tp: lesion in both.
        tn: lesion in neither.
        fp: lesion in the prediction only.
        fn: lesion in the truth only.

    Example:
        >>> Confusion.from_masks(np.array([[True, True, False]]), np.array([[True, False, False]]))
        Confusion(tp=1, tn=1, fp=0, fn=1)
    """

    tp: int
    tn: int
    fp: int
    fn: int

    @classmethod
    def from_masks(cls, truth: np.ndarray, prediction: np.ndarray) -> "Confusion":
        """Count the pixels of two masks.

        Args:
            truth: (H, W) bool, True = lesion.
            prediction: (H, W) bool, True = lesion.

        Raises:
            ValueError: the masks differ in size, or are not bool.
        """
        if truth.shape != prediction.shape or truth.dtype != bool or prediction.dtype != bool:
            raise ValueError(
                f"masks of {truth.shape} {truth.dtype} and {prediction.shape} {prediction.dtype}, "
                "expected bool masks of one size"
            )
        in_both = int(np.count_nonzero(truth & prediction))
        in_truth = int(np.count_nonzero(truth))
        in_prediction = int(np.count_nonzero(prediction))
        in_neither = truth.size - in_truth - in_prediction + in_both
        return cls(tp=in_both, tn=in_neither, fp=in_prediction - in_both, fn=in_truth - in_both)

    @property
    def pixels(self) -> int:
        return self.tp + self.tn + self.fp + self.fn


def jaccard(counts: Confusion, otherwise: float = 1.0) -> float:
    """Intersection over union of the lesion; `otherwise` where neither mask has one."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn, otherwise)


def dice(counts: Confusion, otherwise: float = 1.0) -> float:
    """Twice the intersection over the sum of both areas; `otherwise` where neither mask has a lesion."""
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, otherwise)


def threshold_jaccard(counts: Confusion) -> float:
    """The Jaccard index where it reaches 0.65, else 0."""
    score = jaccard(counts)
    return score if score >= JACCARD_THRESHOLD else 0.0


def accuracy(counts: Confusion) -> float:
    """The share of pixels that are right."""
    return (counts.tp + counts.tn) / counts.pixels


def sensitivity(counts: Confusion, otherwise: float = 1.0) -> float:
    """The share of the true lesion that was found; `otherwise` where there is none."""
    return _ratio(counts.tp, counts.tp + counts.fn, otherwise)


def precision(counts: Confusion, otherwise: float = 1.0) -> float:
    """The share of the predicted lesion that is true; `otherwise` where none was predicted, also where one was missed.

    It is the sensitivity with both masks in each other's place.
    """
    return _ratio(counts.tp, counts.tp + counts.fp, otherwise)


def specificity(counts: Confusion) -> float:
    """The share of the true skin that was left free; 1 where there is none."""
    return _ratio(counts.tn, counts.tn + counts.fp, otherwise=1.0)


def per_image_scores(counts: Confusion) -> dict[str, float]:
    """Compute all official scores of one image, in the order of `PER_IMAGE`, each in 0..1.

    Example:
        >>> per_image_scores(Confusion(tp=3, tn=5, fp=1, fn=0))["jaccard"]
        0.75
    """
    return dict(
        jaccard=jaccard(counts),
        dice=dice(counts),
        threshold_jaccard=threshold_jaccard(counts),
        accuracy=accuracy(counts),
        sensitivity=sensitivity(counts),
        specificity=specificity(counts),
    )


def lesion_scores(counts: Confusion, otherwise: float = 1.0) -> dict[str, float]:
    """Compute the scores named in `LESION`, of one image or of pixels pooled by `pool`, each in 0..1.

    Args:
        counts: of pixels.
        otherwise: what a score is that has nothing to be a share of: 1 for an image, as in the official scores, NaN for
            pooled pixels, as in `pooled_scores`.

    Example:
        >>> lesion_scores(Confusion(tp=3, tn=5, fp=1, fn=0))["precision"]
        0.75
    """
    return dict(
        precision=precision(counts, otherwise),
        recall=sensitivity(counts, otherwise),
        accuracy=accuracy(counts),
        dice=dice(counts, otherwise),
        iou=jaccard(counts, otherwise),
    )


def mean_scores(scores: Sequence[Mapping[str, float]], names: Sequence[str] = PER_IMAGE) -> dict[str, float]:
    """Average the scores of several images, equal to the official scorer's averages to the last digit.

    Args:
        scores: one mapping per image as from `per_image_scores`, in the order of the file names: sums of
            floats depend on the order. The official scorer adds with pandas, which sums pairwise as
            numpy does.
        names: which of them.

    Raises:
        ValueError: no images.
    """
    if not scores:
        raise ValueError("no images to average over")
    return {name: float(np.mean(np.array([score[name] for score in scores], np.float64))) for name in names}


def pool(counts: Iterable[Confusion]) -> Confusion:
    """Count the pixels of several images together."""
    counts = list(counts)
    return Confusion(*(sum(getattr(image, name) for image in counts) for name in ("tp", "tn", "fp", "fn")))


def pooled_scores(counts: Iterable[Confusion]) -> dict[str, float]:
    """Compute the scores of all pixels together, as MMSegmentation's IoUMetric defines them.

    A class that occurs in no truth and no prediction has the score NaN and is left out of the means.

    Args:
        counts: one per image.

    Returns:
        The scores named in `POOLED`, in 0..1 (IoUMetric reports per cent, rounded to two digits).
    """
    whole = pool(counts)
    # The background is the lesion of the inverted masks.
    classes = (Confusion(tp=whole.tn, tn=whole.tp, fp=whole.fn, fn=whole.fp), whole)
    ious, dices = ([score(each, otherwise=math.nan) for each in classes] for score in (jaccard, dice))
    means = [float(np.nanmean(ious)), float(np.nanmean(dices)), accuracy(whole)]
    return dict(zip(POOLED, [*means, *ious, *dices], strict=True))


def _ratio(part: int, whole: int, otherwise: float) -> float:
    return part / whole if whole else otherwise
