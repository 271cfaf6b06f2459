"""What a model has found in an image, in full: every score and every instance, for those who measure it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lesionseg.deploy.engines import Model
from lesionseg.deploy.pipeline import (
    MASK_THRESHOLD,
    Detections,
    Prepared,
    lesion_detections,
    lesion_map,
    margin,
    original_scores,
)
from lesionseg.engine.families import SEMANTIC


@dataclass(frozen=True)
class Found:
    """What a model found in one image, on original pixels.

    Attributes:
        mask: (H, W) bool, True = lesion.
        class_scores: (C, H, W) float32 from semantic segmentation, else None.
        boxes: (K, 4) float32, left, top, right, bottom of the instances, those with low scores included; none from
            semantic segmentation.
        scores: (K,) float32, theirs.
        masks: K times (H, W) bool, theirs.
    """

    mask: np.ndarray
    class_scores: np.ndarray | None = None
    boxes: np.ndarray = field(default_factory=lambda: np.empty((0, 4), np.float32))
    scores: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))
    masks: Sequence[np.ndarray] = ()


def find(model: Model, prepared: Prepared) -> Found:
    """Run a model on one image and bring all that it finds to original pixels."""
    outputs = [output[0] for output in model.run(prepared.tensor[None])]
    if model.card.task == SEMANTIC:
        scores = original_scores(outputs[0], prepared)
        return Found(margin(scores) > 0, scores)
    chosen = lesion_detections(*outputs, prepared, model.card)
    every = lesion_detections(*outputs, prepared, replace(model.card, score_rule="union", min_score=0))
    masks = [_lesion(_only(every, number), prepared) for number in range(len(every.scores))]
    return Found(_lesion(chosen, prepared), None, every.boxes, every.scores, masks)


def _lesion(detections: Detections, prepared: Prepared) -> np.ndarray:
    return lesion_map(detections, prepared) >= MASK_THRESHOLD


def _only(detections: Detections, number: int) -> Detections:
    one = slice(number, number + 1)
    return Detections(detections.boxes[one], detections.scores[one], detections.masks[one], detections.pasted)
