"""Outputs of a network -> lesion, in numpy and OpenCV alone.

This is what MMSegmentation and MMDetection do, step by step; tests hold it to them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from lesionseg.inference.prepare import Prepared
from lesionseg.inference.runtimes.model_card import MASK_SCORES, ModelCard
from lesionseg.pixels.instances import choose_instances

_ABOVE_HALF = np.nextafter(np.float32(0.5), np.float32(1))


@dataclass(frozen=True)
class Detections:
    """The instances of one image that make up its lesion, the best-scored first.

    Attributes:
        boxes: (K, 4) float32, left, top, right and bottom in pixels of the original image.
        scores: (K,) float32, 0..1.
        masks: (K, h, w) float32, 0..1, each spread over its box; or over the whole input, where `pasted`.
        pasted: whether the masks are already where they belong.
    """

    boxes: np.ndarray
    scores: np.ndarray
    masks: np.ndarray
    pasted: bool

    def take(self, numbers: Sequence[int] | np.ndarray) -> "Detections":
        """Only those of these numbers, in their order."""
        return Detections(self.boxes[numbers], self.scores[numbers], self.masks[numbers], self.pasted)


def original_scores(scores: np.ndarray, prepared: Prepared) -> np.ndarray:
    """Bring the semantic outputs of one image to its original size.

    Args:
        scores: (C, H, W) float32, as the model gave them for `prepared.tensor`.

    Returns:
        (C, H, W) float32 on original pixels.
    """
    height, width = prepared.content
    size = prepared.original[::-1]
    # Without smoothing, as torch's bilinear interpolation.
    enlarged = np.empty((len(scores), *prepared.original), np.float32)
    for plane, target in zip(scores, enlarged, strict=True):
        cv2.resize(plane[:height, :width], size, dst=target, interpolation=cv2.INTER_LINEAR)
    return enlarged


def margin(scores: np.ndarray) -> np.ndarray:
    """How far the best lesion class is ahead of the background.

    Args:
        scores: (C, H, W) float32, class 0 is the background.

    Returns:
        (H, W) float32; lesion where it is above 0, which is the highest score's class.
    """
    best = scores[1] if len(scores) == 2 else scores[1:].max(0)
    return best - scores[0]


def class_shares(scores: np.ndarray) -> np.ndarray:
    """Softmax over classes, in place: (C, H, W) float32 -> (C, H, W) float32, 0..1."""
    scores -= scores.max(0)
    np.exp(scores, out=scores)
    scores /= scores.sum(0)
    return scores


def probability_of_margin(lead: np.ndarray, score_rule: str) -> np.ndarray:
    """Turn a margin into a probability-like value that is above 0.5 exactly where the margin is above 0.

    Args:
        lead: (H, W) float32, see `margin`.
        score_rule: that of the card. A difference of `mask_scores` lies in about -1..1 and is spread over 0..1; one
            of `logits` is what the softmax of two classes makes of it.

    Returns:
        (H, W) float32, 0..1.
    """
    # In place: at a hundred megapixels, every step would otherwise take half a gigabyte.
    if score_rule == MASK_SCORES:
        probability = 1 + lead
        probability /= 2
        np.clip(probability, 0, 1, out=probability)
    else:
        probability = sigmoid(lead)
    return above_half(probability, lead > 0)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Logits, float32 of any shape -> probabilities, float32, 0..1."""
    probability = np.clip(logits, -80, 80)
    np.negative(probability, out=probability)
    np.exp(probability, out=probability)
    probability += 1
    return np.reciprocal(probability, out=probability)


def above_half(probability: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Lift probabilities that were rounded to one half, (H, W) float32 changed in place, above it in the lesion."""
    return np.maximum(probability, _ABOVE_HALF, out=probability, where=lesion)


def lesion_detections(
    dets: np.ndarray, labels: np.ndarray, masks: np.ndarray, prepared: Prepared, card: ModelCard
) -> Detections:
    """Take from a detector's output for one image the instances that make up the lesion.

    Args:
        dets: (K, 5) float32, left, top, right, bottom in pixels of the input, and the score; score 0 is no detection.
        labels: (K,) int64, 0 = lesion.
        masks: (K, h, w) float32, 0..1, spread over the boxes, or over the input if they have its size.
        prepared: the image that went in.
        card: of the model; its `score_rule` and `min_score` decide.
    """
    scores = np.where(labels == 0, dets[:, 4], 0)
    kept = choose_instances(scores, card.score_rule, card.min_score)
    shares = (prepared.content[1] / prepared.original[1], prepared.content[0] / prepared.original[0])
    factors = np.array(shares * 2, np.float32)
    pasted = masks.shape[1:] == prepared.tensor.shape[1:]
    return Detections(dets[kept, :4] / factors, scores[kept], masks[kept], pasted)


def lesion_map(detections: Detections, prepared: Prepared) -> np.ndarray:
    """The largest value that any instance's mask has, (H, W) float32, 0..1, on original pixels."""
    soft = np.zeros(prepared.original, np.float32)
    for rows, columns, values in _place(detections, prepared):
        np.maximum(soft[rows, columns], values, out=soft[rows, columns])
    return soft


def join_weighted(detections: Detections, prepared: Prepared) -> np.ndarray:
    """How likely a pixel is in any instance: 1 - prod(1 - score x mask), (H, W) float32, 0..1, on original pixels."""
    in_none = np.ones(prepared.original, np.float32)
    for score, (rows, columns, values) in zip(detections.scores, _place(detections, prepared), strict=True):
        in_none[rows, columns] *= 1 - score * values
    return 1 - in_none


def _place(detections: Detections, prepared: Prepared) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Give for each instance the rows and columns that its mask touches, and its float32 values there."""
    height, width = prepared.original
    for box, mask in zip(detections.boxes, detections.masks, strict=True):
        if detections.pasted:
            content = mask[: prepared.content[0], : prepared.content[1]]
            yield slice(None), slice(None), cv2.resize(content, (width, height), interpolation=cv2.INTER_LINEAR)
        else:
            yield paste(mask, box, height, width)


def paste(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> tuple[slice, slice, np.ndarray]:
    """Spread a small mask over its box, as MMDetection's `_do_paste_mask`.

    Args:
        mask: (h, w) float32, 0..1.
        box: (4,) float32, left, top, right and bottom in pixels of the image.
        height: of the image.
        width: of the image.

    Returns:
        the rows and columns that the box touches, and the (rows, columns) float32 values there.
    """
    left, top, right, bottom = box
    rows, across = _interpolation(top, bottom, mask.shape[0], height)
    columns, along = _interpolation(left, right, mask.shape[1], width)
    return rows, columns, across @ mask @ along.T


def _interpolation(start: float, end: float, cells: int, length: int) -> tuple[slice, np.ndarray]:
    """Bilinear interpolation along one axis as a matrix: pixels between `start` and `end` from so many cells."""
    first, last = max(0, int(np.floor(start)) - 1), min(length, int(np.ceil(end)) + 1)
    if end <= start or last <= first:
        return slice(0, 0), np.zeros((0, cells), np.float32)
    centres = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
    # In units of cells, from the middle of the first.
    places = (centres - start) / (end - start) * cells - np.float32(0.5)
    weights = 1 - np.abs(places[:, None] - np.arange(cells, dtype=np.float32))
    return slice(first, last), np.maximum(weights, 0)
