"""How soft masks of several models are joined best: weights and a threshold, fitted on images with known masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import minimize

from lesionseg.evaluation.scores import JACCARD_THRESHOLD

# Pixels of both edges of the copies that are fitted on: shares of the image's area stay what they are.
EDGE = 64
# Grays that are told apart in choosing the threshold, and which of them can be it: 0.1 to 0.9 of 255.
_STEP, _LOWEST, _HIGHEST = 4, 24, 232
_LEVELS = 256 // _STEP
_THRESHOLDS = (np.arange(_LOWEST, _HIGHEST - _STEP, _STEP) + _STEP - 0.5) / 255
# Among thresholds that are as good, the one next to one half is taken: so much score a distance is worth.
_TOWARDS_HALF = 1e-4 * np.abs(_THRESHOLDS - 0.5)
# A model with a smaller share of the average only costs time.
_LEAST_WEIGHT = 0.02


@dataclass(frozen=True)
class Mix:
    """How the soft masks of some models make one mask.

    Attributes:
        weights: of each model, 0..1, with the sum 1.
        threshold: above 0 and below 1; lesion is where the average of the soft masks is higher.
    """

    weights: tuple[float, ...]
    threshold: float

    def lesion(self, soft: Sequence[np.ndarray]) -> np.ndarray:
        """Join soft masks of one image, (H, W) uint8 or float32 gray each, 0..255, a model each: (H, W) bool."""
        total = np.zeros(soft[0].shape, np.float32)
        for weight, gray in zip(self.weights, soft, strict=True):
            if weight:
                total += np.float32(weight) * gray
        return total > np.float32(255 * self.threshold)


def shrink(gray: np.ndarray) -> np.ndarray:
    """Make the copy of a soft or a true mask that is fitted on: (H, W) uint8 -> (EDGE * EDGE,) uint8."""
    return cv2.resize(gray, (EDGE, EDGE), interpolation=cv2.INTER_AREA).ravel()


class MixSearch:
    """Tries weights, and with each all thresholds; from then on it knows the best ones for any of the images.

    What is made as large as can be is the mean of Jaccard and threshold Jaccard over images: the latter ranks the
    challenge, but jumps, so that alone it follows chance. Nelder and Mead's simplex decides which weights are tried.

    Args:
        truth: (N, P) bool, a small copy of each image's true mask; True = lesion.
        soft: (M, N, P) uint8, of each model, 255 times the probability.
    """

    def __init__(self, truth: np.ndarray, soft: np.ndarray) -> None:
        # Where all models agree, no threshold that may be chosen changes anything: most pixels are only counted.
        surely = soft.min(0) >= _HIGHEST
        open_ = ~surely & (soft.max(0) >= _LOWEST)
        self._images, models = len(truth), len(soft)
        self._lesion = truth.sum(1)
        self._sure = [np.count_nonzero(surely & part, 1)[:, None] for part in (truth, ~truth)]
        self._parts = [(np.nonzero(open_ & part)[0] * _LEVELS, soft[:, open_ & part]) for part in (truth, ~truth)]
        self._tried: dict[tuple[float, ...], np.ndarray] = {}

        def loss(free: np.ndarray) -> float:
            return -float((self._scores(_weights(free)).mean(0) - _TOWARDS_HALF).max())

        starts = [np.full(models - 1, 1 / models), *np.eye(models)[:, :-1]]
        best = min(starts, key=loss)
        if models > 1:
            simplex = np.stack([best, *(best + np.where(best < 0.5, 0.2, -0.2) * row for row in np.eye(models - 1))])
            options = dict(initial_simplex=simplex, xatol=0.01, fatol=1e-5, maxfev=25 * models)
            minimize(loss, best, method="Nelder-Mead", options=options)

    def best(self, images: np.ndarray | None = None) -> Mix:
        """The best of what was tried.

        Args:
            images: (N,) bool, for which of them; None for all.
        """
        chosen = slice(None) if images is None else images
        means = {weights: scores[chosen].mean(0) - _TOWARDS_HALF for weights, scores in self._tried.items()}
        weights = max(means, key=lambda weights: means[weights].max())
        return Mix(weights, float(_THRESHOLDS[means[weights].argmax()]))

    def _scores(self, weights: tuple[float, ...]) -> np.ndarray:
        """What is made large, of each image at each threshold, (N, T) float32; kept."""
        if weights in self._tried:
            return self._tried[weights]
        counts = []
        for sure, (places, soft) in zip(self._sure, self._parts, strict=True):
            # Half a gray, so that a gray is what lies around it.
            total = np.full(len(places), 0.5, np.float32)
            for weight, gray in zip(weights, soft, strict=True):
                total += np.float32(weight) * gray
            # Weights are rounded: their sum may be a little above 1.
            level = np.minimum(total.astype(np.int64) // _STEP, _LEVELS - 1)
            levels = np.bincount(places + level, minlength=self._images * _LEVELS)
            above = levels.reshape(self._images, _LEVELS)[:, ::-1].cumsum(1)[:, ::-1]
            counts.append(sure + above[:, _LOWEST // _STEP + 1 : _HIGHEST // _STEP])
        in_lesion, in_skin = counts
        union = self._lesion[:, None] + in_skin
        jaccard = np.where(union, in_lesion / np.maximum(union, 1), 1).astype(np.float32)
        self._tried[weights] = (jaccard + np.where(jaccard >= JACCARD_THRESHOLD, jaccard, 0)) / 2
        return self._tried[weights]


def _weights(free: np.ndarray) -> tuple[float, ...]:
    """All weights but the last, of any size -> all, 0..1, with the sum 1 but for rounding."""
    weights = np.clip([*free, 1 - np.sum(free)], 0, None)
    weights /= weights.sum()
    weights[weights < _LEAST_WEIGHT] = 0
    return tuple(np.round(weights / weights.sum(), 3).tolist())
