import math

import numpy as np
import pytest
import torch
from drawn_pairs import draw_pair, make_sample
from mmseg.evaluation import IoUMetric

from lesionseg.evaluation.scores import (
    LESION,
    PER_IMAGE,
    POOLED,
    Confusion,
    accuracy,
    dice,
    jaccard,
    lesion_scores,
    mean_scores,
    per_image_scores,
    pool,
    pooled_scores,
    precision,
    sensitivity,
    specificity,
    threshold_jaccard,
)

COUNTS = Confusion(tp=1, tn=13, fp=2, fn=4)
NO_LESION = Confusion(tp=0, tn=20, fp=0, fn=0)
ALL_LESION = Confusion(tp=20, tn=0, fp=0, fn=0)
FALSE_ALARM = Confusion(tp=0, tn=15, fp=5, fn=0)
MISSED = Confusion(tp=0, tn=15, fp=0, fn=5)


def test_counts_of_masks_drawn_by_hand():
    truth = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    prediction = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], bool)
    assert Confusion.from_masks(truth, prediction) == COUNTS
    assert Confusion.from_masks(prediction, truth) == Confusion(tp=1, tn=13, fp=4, fn=2)


@pytest.mark.parametrize(
    ("truth", "prediction", "counts"),
    [(0, 0, NO_LESION), (1, 1, ALL_LESION), (0, 1, Confusion(0, 0, 20, 0)), (1, 0, Confusion(0, 0, 0, 20))],
)
def test_counts_of_uniform_masks(truth, prediction, counts):
    assert Confusion.from_masks(np.full((4, 5), truth, bool), np.full((4, 5), prediction, bool)) == counts


def test_counts_refuse_other_sizes_and_gray_values():
    mask = np.zeros((4, 5), bool)
    with pytest.raises(ValueError, match=r"\(4, 5\) bool and \(5, 4\) bool"):
        Confusion.from_masks(mask, mask.T)
    with pytest.raises(ValueError, match="uint8"):
        Confusion.from_masks(mask, np.full((4, 5), 255, np.uint8))


def test_scores_are_these_fractions():
    assert per_image_scores(COUNTS) == dict(
        jaccard=1 / 7, dice=2 / 8, threshold_jaccard=0.0, accuracy=14 / 20, sensitivity=1 / 5, specificity=13 / 15
    )
    assert tuple(per_image_scores(COUNTS)) == PER_IMAGE


def test_scores_without_a_lesion_or_without_skin_follow_the_official_conventions():
    for counts in (NO_LESION, ALL_LESION):
        assert set(per_image_scores(counts).values()) == {1.0}
    assert (jaccard(FALSE_ALARM), dice(FALSE_ALARM), sensitivity(FALSE_ALARM)) == (0.0, 0.0, 1.0)
    assert (specificity(FALSE_ALARM), accuracy(FALSE_ALARM)) == (15 / 20, 15 / 20)
    assert (jaccard(MISSED), sensitivity(MISSED), specificity(MISSED)) == (0.0, 0.0, 1.0)


def test_threshold_jaccard_keeps_a_jaccard_of_exactly_the_threshold():
    assert threshold_jaccard(Confusion(tp=13, tn=0, fp=7, fn=0)) == 13 / 20
    assert threshold_jaccard(Confusion(tp=1299, tn=0, fp=701, fn=0)) == 0.0


def test_scores_of_the_lesion_are_these_fractions():
    scores = lesion_scores(COUNTS)
    assert scores == dict(precision=1 / 3, recall=1 / 5, accuracy=14 / 20, dice=2 / 8, iou=1 / 7)
    assert tuple(scores) == LESION
    assert lesion_scores(pool([COUNTS, MISSED]))["precision"] == 1 / 3
    assert lesion_scores(pool([COUNTS, MISSED]))["recall"] == 1 / 10


def test_precision_is_sensitivity_with_both_masks_in_each_others_place():
    for counts in (COUNTS, NO_LESION, ALL_LESION, FALSE_ALARM, MISSED):
        assert precision(counts) == sensitivity(Confusion(counts.tp, counts.tn, counts.fn, counts.fp))
    assert (precision(FALSE_ALARM), precision(MISSED), precision(NO_LESION)) == (0.0, 1.0, 1.0)


def test_what_nothing_is_a_share_of_has_no_pooled_score():
    pooled = lesion_scores(NO_LESION, otherwise=math.nan)
    assert [name for name, value in pooled.items() if math.isnan(value)] == ["precision", "recall", "dice", "iou"]
    assert pooled["accuracy"] == 1.0


def test_mean_weighs_images_and_pooling_weighs_pixels():
    small, large = Confusion(tp=1, tn=0, fp=1, fn=0), Confusion(tp=90, tn=0, fp=0, fn=0)
    assert mean_scores([per_image_scores(small), per_image_scores(large)])["jaccard"] == 3 / 4
    assert pooled_scores([small, large])["IoU.lesion"] == 91 / 92


def test_mean_of_no_images_is_an_error():
    with pytest.raises(ValueError, match="no images"):
        mean_scores([])


def test_pooled_scores_are_these_fractions():
    pooled = pooled_scores([COUNTS, MISSED])  # tp 1, tn 28, fp 2, fn 9
    assert pooled == pytest.approx(
        {
            "mIoU": (28 / 39 + 1 / 12) / 2,
            "mDice": (56 / 67 + 2 / 13) / 2,
            "aAcc": 29 / 40,
            "IoU.background": 28 / 39,
            "IoU.lesion": 1 / 12,
            "Dice.background": 56 / 67,
            "Dice.lesion": 2 / 13,
        },
        rel=1e-15,
    )
    assert tuple(pooled) == POOLED


def test_a_class_that_occurs_nowhere_is_left_out_of_the_pooled_means():
    pooled = pooled_scores([NO_LESION, NO_LESION])
    assert math.isnan(pooled["IoU.lesion"])
    assert math.isnan(pooled["Dice.lesion"])
    assert pooled["mIoU"] == pooled["mDice"] == pooled["aAcc"] == 1.0


@pytest.mark.parametrize("indices", [range(1, 6), range(30), [0], [63]])  # 0 and 63: no lesion anywhere
def test_pooled_scores_agree_with_iou_metric(indices):
    pairs = [draw_pair(index) for index in indices]
    pooled = pooled_scores(Confusion.from_masks(truth, prediction) for truth, prediction in pairs)

    metric = IoUMetric(iou_metrics=["mIoU", "mDice"])
    metric.dataset_meta = dict(classes=("background", "lesion"))
    metric.process({}, [make_sample("a.jpg", "a.png", *pair).to_dict() for pair in pairs])
    areas = [torch.stack(parts).sum(0) for parts in zip(*metric.results, strict=True)]
    by_class = IoUMetric.total_area_to_metrics(*areas, ["mIoU", "mDice"])
    for score in ("IoU", "Dice"):
        ours = [pooled[f"{score}.{name}"] for name in ("background", "lesion")]
        np.testing.assert_allclose(ours, by_class[score], rtol=1e-6)  # IoUMetric computes in float32

    reported = metric.evaluate(len(pairs))
    for name in ("mIoU", "mDice", "aAcc"):
        assert 100 * pooled[name] == pytest.approx(reported[name], abs=0.005001)
