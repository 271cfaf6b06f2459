"""Several networks as one method: their soft masks are averaged by weights, and what is above a threshold is lesion."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike

import numpy as np

from lesionseg.engine.families import SEMANTIC
from lesionseg.errors import DataError
from lesionseg.inference.decode import above_half
from lesionseg.inference.ensemble_card import MAKE_ANEW, EnsembleCard
from lesionseg.inference.finder import Image, Prediction
from lesionseg.inference.network import Network
from lesionseg.inference.quality import MEMBERS, SOFT_DICE, QualityMap, mean_pairwise_dice, soft_dice


class Ensemble:
    """Averages what several networks find; see `lesionseg.inference.finder.Finder`.

    Networks of both families join by their soft masks, see `lesionseg.inference.finder.Prediction.soft_mask`.

    Args:
        card: the members' weights, and the threshold.
        members: the networks, in the order of the card.
        path: what messages call it by.
        tta: whether the members average over flipped copies of each image.
        quality: what the numbers of a mask let expect of it; None where nothing was fitted.

    Raises:
        DataError: a network tells several findings apart.
    """

    task = SEMANTIC

    def __init__(
        self,
        card: EnsembleCard,
        members: Sequence[Network],
        path: str | PathLike,
        tta: bool = False,
        quality: QualityMap | None = None,
    ) -> None:
        self.members, self.tta, self.quality = members, tta, quality
        for member in members:
            if findings := member.card.findings:
                raise DataError(
                    f"{path}: a member tells {', '.join(findings)} apart, expected networks of one lesion. {MAKE_ANEW}"
                )
        self.card = replace(card, lesion_name=members[0].card.lesion_name)

    def find(self, images: Sequence[Image], keep_scores: bool = False) -> list[Prediction]:
        """Find the lesions in images: with each network in turn, so that no more than one soft mask an image is kept.

        Raises:
            DataError, ModelError, MemoryError: as from `lesionseg.inference.network.Network.find`.
        """
        soft = [np.zeros(image.pixels.shape[:2], np.float32) for image in images]
        masks: list[list[np.ndarray]] = [[] for _ in images]
        for member, weight in zip(self.members, self.card.weights, strict=True):
            for total, of_image, found in zip(soft, masks, member.find(images), strict=True):
                total += np.float32(weight) * found.soft_mask()
                of_image.append(found.mask)
        return [self._prediction(*each, keep_scores) for each in zip(soft, masks, strict=True)]

    def _prediction(self, soft: np.ndarray, masks: Sequence[np.ndarray], keep_scores: bool) -> Prediction:
        mask = soft > np.float32(self.card.threshold)
        probability = above_half(move_to_half(soft, self.card.threshold), mask)
        np.minimum(probability, 0.5, out=probability, where=~mask)
        scores = np.stack([1 - probability, probability]) if keep_scores else None
        numbers = {SOFT_DICE: soft_dice(probability, mask)}
        if len(masks) > 1:
            numbers[MEMBERS] = mean_pairwise_dice(masks)
        expected = self.quality.expected(numbers) if self.quality else None
        return Prediction(mask, probability, class_scores=scores, numbers=numbers, expected_jaccard=expected)


def move_to_half(soft: np.ndarray, threshold: float) -> np.ndarray:
    """Stretch soft masks so that a threshold comes to lie at one half: float32, 0..1, of any shape."""
    return np.interp(soft, (0, threshold, 1), (0, 0.5, 1)).astype(np.float32)
