"""Networks as a method: an image is prepared and run, and what comes out is brought to its pixels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lesionseg.engine.families import SEMANTIC
from lesionseg.errors import DataError
from lesionseg.inference.decode import (
    Detections,
    above_half,
    class_shares,
    lesion_detections,
    lesion_map,
    margin,
    original_scores,
    probability_of_margin,
    sigmoid,
)
from lesionseg.inference.finder import Image, Instances, Prediction
from lesionseg.inference.prepare import Prepared, prepare
from lesionseg.inference.quality import FLIPS, SCORE, SOFT_DICE, mean_pairwise_dice, open_map, soft_dice
from lesionseg.inference.runtimes.interface import check_outputs
from lesionseg.inference.runtimes.model import Model
from lesionseg.inference.runtimes.model_card import MASK_THRESHOLD, SIGMOID, ModelCard
from lesionseg.pixels.instances import UNION, choose_instances

# Beside the image as it is, those of the configs' tta_pipeline: by the axes of (H, W) that are turned around.
_FLIPS = ((1,), (0,), (0, 1))


class Network:
    """A network in any engine; see `lesionseg.inference.finder.Finder`.

    Args:
        model: what runs it.
        tta: average over the image and its three flipped copies.
        min_score: of instances, the least score, 0..1; None takes what the model was tested with.
        instances: which of them make up the lesion, `union` or `top1`; None takes what the model was tested with.

    Raises:
        DataError: there are no instances to choose from, or no such way to choose them.
    """

    def __init__(
        self, model: Model, *, tta: bool = False, min_score: float | None = None, instances: str | None = None
    ) -> None:
        card = model.card
        if card.task == SEMANTIC and (min_score is not None or instances is not None):
            raise DataError(
                f"{model.path}: has no instances to choose from, expected a Mask R-CNN. Leave out min_score and "
                "instances (--min-score, --top1)."
            )
        self.model = model
        self.card = replace(
            card,
            min_score=card.min_score if min_score is None else min_score,
            score_rule=card.score_rule if instances is None else instances,
        )
        if faults := self.card.faults():
            raise DataError(*(f"{fact}, expected {expected}. Correct it." for fact, expected in faults))
        self.task = card.task
        self.tta = tta
        self.quality = open_map(card.quality, tta)

    def find(self, images: Sequence[Image], keep_scores: bool = False) -> list[Prediction]:
        """Find the lesions, in one run of the model where all images are of one size; nothing in no images.

        Raises:
            DataError: an image cannot be prepared, see `prepare`.
            ModelError: the model fails, or its outputs are not what its task has, see `check_outputs`.
            MemoryError: the images are too large for this machine.
        """
        if len({image.pixels.shape for image in images}) > 1 or (len(images) > 1 and not self.model.batches):
            return [found for image in images for found in self.find([image], keep_scores)]
        if not images:
            return []
        pixels = [image.pixels for image in images]
        views = [self._outputs(pixels)]
        if self.tta:
            views += [self._outputs([np.ascontiguousarray(np.flip(each, axes)) for each in pixels]) for axes in _FLIPS]
        of_images = zip(*views, strict=True)
        if self.task == SEMANTIC:
            return [self._join_semantic(of_image, keep_scores) for of_image in of_images]
        return [self._join_instances(of_image) for of_image in of_images]

    def _outputs(self, images: Sequence[np.ndarray]) -> list[tuple[Prepared, list[np.ndarray]]]:
        """Run the model on images of one size: for each, how it went in, and what came out."""
        prepared = [prepare(image, self.card) for image in images]
        batch = np.stack([image.tensor for image in prepared])
        outputs = self.model.run(batch)
        check_outputs(outputs, batch, self.card, self.model.path)
        return [(image, [output[number] for output in outputs]) for number, image in enumerate(prepared)]

    def _join_semantic(self, views: Sequence[tuple[Prepared, list[np.ndarray]]], keep_scores: bool) -> Prediction:
        if self.card.score_rule == SIGMOID:
            return self._join_findings(views, keep_scores)
        # One after another, and in place: these maps have the size of the original image.
        maps = (original_scores(outputs[0], image) for image, outputs in views)
        scores = next(maps)
        masks = []
        if len(views) > 1:
            masks.append(margin(scores) > 0)
            # MMSegmentation's way to join them (SegTTAModel).
            scores = class_shares(scores)
            for axes, flipped in zip(_FLIPS, maps, strict=True):
                masks.append(np.flip(margin(flipped) > 0, axes))
                scores += np.flip(class_shares(flipped), tuple(axis + 1 for axis in axes))
            np.log(scores, out=scores)
        lead = margin(scores)
        kept = scores if keep_scores else None
        del scores
        probability = probability_of_margin(lead, self.card.score_rule)
        return self._judged(Prediction(lead > 0, probability, class_scores=kept), masks)

    def _judged(self, found: Prediction, masks: Sequence[np.ndarray]) -> Prediction:
        """Add how good the mask is; `masks` are those of all flips, none where there is but the image as it is."""
        if found.scores is None:
            numbers = {SOFT_DICE: soft_dice(found.probability, found.mask)}
        else:
            numbers = {SCORE: float(found.scores.max(initial=0))}
        if masks:
            numbers[FLIPS] = mean_pairwise_dice(masks)
        expected = self.quality.expected(numbers) if self.quality else None
        return replace(found, numbers=numbers, expected_jaccard=expected)

    def _join_findings(self, views: Sequence[tuple[Prepared, list[np.ndarray]]], keep_scores: bool) -> Prediction:
        (first, outputs), *flipped = views
        scores = original_scores(outputs[0], first)
        probabilities = sigmoid(scores)
        masks = []
        if flipped:
            masks.append(scores > 0)
            for (image, outputs), axes in zip(flipped, _FLIPS, strict=True):
                turned = np.flip(original_scores(outputs[0], image), tuple(axis + 1 for axis in axes))
                masks.append(turned > 0)
                probabilities += sigmoid(turned)
            probabilities /= len(views)
            scores = probabilities - 0.5
        found = [
            self._judged(Prediction(lead > 0, above_half(probability, lead > 0)), [each[number] for each in masks])
            for number, (lead, probability) in enumerate(zip(scores, probabilities, strict=True))
        ]
        kept = scores if keep_scores else None
        if len(found) == 1:
            return replace(found[0], class_scores=kept)
        return Prediction(
            np.any([each.mask for each in found], axis=0),
            np.max([each.probability for each in found], axis=0),
            class_scores=kept,
            findings=dict(zip(self.card.findings, found, strict=True)),
        )

    def _join_instances(self, views: Sequence[tuple[Prepared, list[np.ndarray]]]) -> Prediction:
        (first, outputs), *flipped = views
        # Those of the image as it is.
        every = _detections(outputs, first, replace(self.card, score_rule=UNION, min_score=0.0))
        chosen = choose_instances(every.scores, self.card.score_rule, self.card.min_score)
        soft = lesion_map(every.take(chosen), first)
        masks = [soft >= MASK_THRESHOLD] if flipped else []
        for (image, outputs), axes in zip(flipped, _FLIPS, strict=False):
            turned = np.flip(lesion_map(_detections(outputs, image, self.card), image), axes)
            masks.append(turned >= MASK_THRESHOLD)
            soft += turned
        soft /= len(views)
        mask = soft >= MASK_THRESHOLD

        def draw(number: int) -> np.ndarray:
            return lesion_map(every.take([number]), first) >= MASK_THRESHOLD

        found = Prediction(mask, above_half(soft, mask), Instances(every.boxes, every.scores, chosen, draw))
        return self._judged(found, masks)


def _detections(outputs: Sequence[np.ndarray], prepared: Prepared, card: ModelCard) -> Detections:
    dets, labels, masks = outputs
    return lesion_detections(dets, labels, masks, prepared, card)
