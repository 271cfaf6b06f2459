"""How sure a model is of its masks, from what it leaves in the samples of a test: the numbers that predictions have."""

from collections.abc import Callable, Mapping

import numpy as np
from mmseg.models.segmentors import EncoderDecoder
from torch import Tensor, nn

from lesionseg.inference.decode import above_half, margin, probability_of_margin, sigmoid
from lesionseg.inference.quality import FLIPS, SCORE, SOFT_DICE, mean_pairwise_dice, soft_dice
from lesionseg.inference.runtimes.config_card import semantic_rule
from lesionseg.inference.runtimes.model_card import SIGMOID
from lesionseg.pixels.instances import BEST, choose_instances

# By finding, with an empty name where there is but one kind.
Numbers = Mapping[str, Mapping[str, float]]


def numbers_of(module: nn.Module, min_score: float, rule: str) -> Callable[[Mapping], Numbers]:
    """Say how the numbers of an image are computed from its data sample.

    Args:
        module: what is tested: a network of the config, in test-time flips or not, or a `FinderModel`.
        min_score: of a detector's instances that make up the mask, 0..1.
        rule: how they do, see `lesionseg.pixels.instances`. What was chosen by the truth has no numbers.

    Returns:
        a function of a data sample as a dict.
    """
    if rule == BEST:
        return lambda sample: {}
    network = getattr(module, "module", module)
    if not isinstance(network, EncoderDecoder):
        return lambda sample: sample["numbers"] if "numbers" in sample else _of_detections(sample, min_score, rule)
    score_rule = semantic_rule(network)
    return lambda sample: _of_scores(sample, score_rule)


def _of_scores(sample: Mapping, score_rule: str) -> Numbers:
    scores = _array(sample["seg_logits"]["data"].float())
    if score_rule == SIGMOID:
        found = [(logits > 0, above_half(sigmoid(logits), logits > 0)) for logits in scores]
    else:
        lead = margin(scores)
        found = [(lead > 0, probability_of_margin(lead, score_rule))]
    numbers = [{SOFT_DICE: soft_dice(probability, mask)} for mask, probability in found]
    if "flip_masks" in sample:
        for number, masks in enumerate(_array(sample["flip_masks"]).swapaxes(0, 1)):
            numbers[number][FLIPS] = mean_pairwise_dice(masks)
    return dict(zip(sample.get("findings") or [""], numbers, strict=True))


def _of_detections(sample: Mapping, min_score: float, rule: str) -> Numbers:
    detections = sample["pred_instances"]
    scores = _array(detections["scores"])[_array(detections["labels"]) == 0]
    return {"": {SCORE: float(scores[choose_instances(scores, rule, min_score)].max(initial=0))}}


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
