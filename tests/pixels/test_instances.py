import numpy as np
import pytest

from lesionseg.pixels.instances import choose_instances

SCORES = np.array([0.3, 0.9, 0.6, 0.0, 0.9])


@pytest.mark.parametrize(
    ("rule", "min_score", "chosen"),
    [
        ("union", 0.5, [1, 4, 2]),
        ("union", 0.6, [1, 4, 2]),
        ("union", 0.95, []),
        # 0 is no instance, however little is asked for.
        ("union", 0.0, [1, 4, 2, 0]),
        ("top1", 0.95, [1]),
    ],
)
def test_the_best_scored_come_first(rule, min_score, chosen):
    assert choose_instances(SCORES, rule, min_score).tolist() == chosen


def test_best_looks_at_the_truth_alone():
    assert choose_instances(SCORES, "best", 0.5, overlaps=np.array([0.1, 0.2, 0.2, 0.9, 0.0])).tolist() == [3]


@pytest.mark.parametrize("rule", ["union", "top1", "best"])
def test_of_nothing_nothing_is_chosen(rule):
    assert choose_instances(np.empty(0), rule, 0.5, np.empty(0)).tolist() == []
