"""Which query of Mask2Former answers for which true mask: all decoder layers and images at once."""

from dataclasses import dataclass

import numpy as np
import torch
from mmdet.models.task_modules.assigners import ClassificationCost, CrossEntropyLossCost, DiceCost
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional

from lesionseg.errors import DataError


@dataclass(frozen=True)
class MatchingCost:
    """What it costs to let a query answer for a true mask, as MMDetection's costs that Mask2Former is trained with.

    Attributes:
        classification: weight of the negative probability of the true class.
        cross_entropy: weight of the binary cross entropy, the mean over points.
        dice: weight of one minus Dice.
        eps: added to both parts of Dice's fraction.
    """

    classification: float
    cross_entropy: float
    dice: float
    eps: float

    @classmethod
    def of(cls, costs: list) -> "MatchingCost":
        """Take the weights from an assigner's `match_costs`.

        Raises:
            DataError: there are others than the three, or they are computed in another way.
        """
        by_type = {type(cost): cost for cost in costs}
        if len(costs) != 3 or set(by_type) != {ClassificationCost, CrossEntropyLossCost, DiceCost}:
            names = ", ".join(type(cost).__name__ for cost in costs)
            raise DataError(
                f"train_cfg.assigner.match_costs: {names}, expected ClassificationCost, CrossEntropyLossCost and "
                "DiceCost. Give these, each with the weight it should have, or take MMSegmentation's Mask2FormerHead."
            )
        dice = by_type[DiceCost]
        if not (by_type[CrossEntropyLossCost].use_sigmoid and dice.pred_act and dice.naive_dice):
            raise DataError(
                "train_cfg.assigner.match_costs: masks are compared in another way, expected use_sigmoid=True of "
                "CrossEntropyLossCost, pred_act=True and naive_dice=True of DiceCost. Set these."
            )
        classification, entropy = (by_type[kind].weight for kind in (ClassificationCost, CrossEntropyLossCost))
        return cls(classification, entropy, dice.weight, dice.eps)

    def __call__(self, scores: Tensor, masks: Tensor, labels: Tensor, truths: Tensor) -> Tensor:
        """Compute the costs.

        Args:
            scores: (images, queries, classes + 1) float32 logits.
            masks: (images, queries, points) float32 logits.
            labels: (K,) int64, the classes that may be true in an image.
            truths: (images, K, points) float32, 0..1, the share of each class in the points.

        Returns:
            (images, queries, K) float32.
        """
        probabilities, shares = masks.sigmoid(), truths.mT
        # The cross entropy of a point is softplus(x) - x where it is in the mask, and softplus(x) elsewhere.
        entropy = (functional.softplus(masks).sum(-1, keepdim=True) - masks @ shares) / masks.shape[-1]
        sums = probabilities.sum(-1, keepdim=True) + truths.sum(-1)[:, None]
        dice = 1 - (2 * (probabilities @ shares) + self.eps) / (sums + self.eps)
        found = scores.softmax(-1)[..., labels]
        return self.cross_entropy * entropy + self.dice * dice - self.classification * found


def assign(cost: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
    """Give each true mask a query of its own, so that the sum of the costs is the least there is.

    Of at most two masks an image that is decided where the costs are: the device is not waited for. More are solved by
    SciPy (Crouse 2016), for which the costs are fetched once.

    Args:
        cost: (layers, images, queries, K) float32.
        present: (images, K) bool, which of the K masks an image has.

    Returns:
        (layers, images, K) int64, the query of each mask, and bool, whether it has one: masks that are not there have
        none, nor has one for which no query is left. What stands in the place of a query then means nothing.
    """
    queries, masks = cost.shape[2:]
    if 0 < masks <= min(2, queries):
        cost = cost.masked_fill(~present[:, None], 0.0)
        matched = cost.argmin(2) if masks == 1 else _assign_two(cost)
        return matched, present.expand(len(cost), -1, -1)
    matched = _assign_any(cost, present)
    return matched.clamp(min=0), matched >= 0


def _assign_two(cost: Tensor) -> Tensor:
    """(..., queries, 2) -> (..., 2): each mask its best query, or one its second best where both have the same best."""
    least, queries = cost.topk(2, dim=-2, largest=False)
    # Sums of float32 as SciPy adds them.
    least = least.double()
    clash = queries[..., 0, 0] == queries[..., 0, 1]
    first_keeps = least[..., 0, 0] + least[..., 1, 1] <= least[..., 1, 0] + least[..., 0, 1]
    choice = torch.stack([clash & ~first_keeps, clash & first_keeps], -1)
    return queries.gather(-2, choice[..., None, :].long()).squeeze(-2)


def _assign_any(cost: Tensor, present: Tensor) -> Tensor:
    """As `assign`, with -1 where there is no query."""
    # Absent masks travel with the costs. What is not finite here makes the loss so, too, where it is looked at.
    marked = cost.nan_to_num().masked_fill(~present[:, None], torch.inf).cpu().numpy()
    matched = np.full((*cost.shape[:2], cost.shape[3]), -1)
    for place in np.ndindex(*cost.shape[:2]):
        columns = np.flatnonzero(np.isfinite(marked[place]).all(0))
        rows, which = linear_sum_assignment(marked[place][:, columns])
        matched[place][columns[which]] = rows
    return torch.from_numpy(matched).to(cost.device)
