import pytest
import torch
from mmdet.models.task_modules.assigners import ClassificationCost, CrossEntropyLossCost, DiceCost, FocalLossCost
from scipy.optimize import linear_sum_assignment

from lesionseg.errors import DataError
from lesionseg.models.mask2former_matching import MatchingCost, assign


# A query fewer than masks, as many, and more.
@pytest.mark.parametrize("queries", [1, 2, 3, 10])
@pytest.mark.parametrize("masks", [0, 1, 2, 3])
@pytest.mark.parametrize("values", [None, 3], ids=["drawn", "ties"])
def test_sum_of_the_costs_is_the_least(queries, masks, values):
    generator = torch.Generator().manual_seed(queries + 20 * masks)
    shape = (2, 250, queries, masks)
    cost = torch.randint(values, shape, generator=generator) if values else torch.randn(shape, generator=generator)
    present = torch.rand((250, masks), generator=generator) > 0.2
    found, matched = assign(cost.float(), present)
    assert found.shape == matched.shape == (2, 250, masks)
    for layer in range(2):
        for image in range(250):
            matrix = cost[layer, image].double()
            columns = present[image].nonzero()[:, 0]
            rows, which = linear_sum_assignment(matrix[:, columns])
            got = matched[layer, image].nonzero()[:, 0]
            assert set(got.tolist()) <= set(columns.tolist())
            own = found[layer, image, got]
            assert len(set(own.tolist())) == len(got) == len(rows)
            assert matrix[own, got].sum() == matrix[rows, columns[which]].sum()


@pytest.mark.parametrize("masks", [2, 3])
def test_costs_that_are_not_finite_end_no_training(masks):
    cost = torch.full((1, 1, 4, masks), torch.nan)
    found, matched = assign(cost, torch.ones(1, masks, dtype=torch.bool))
    assert matched.all()
    assert ((found >= 0) & (found < 4)).all()


def test_other_costs_than_mask2formers_are_refused():
    right = [ClassificationCost(2.0), CrossEntropyLossCost(weight=5.0), DiceCost(pred_act=True, eps=1.0, weight=5.0)]
    assert MatchingCost.of(right) == MatchingCost(2.0, 5.0, 5.0, 1.0)
    with pytest.raises(DataError, match=r"FocalLossCost, .* expected ClassificationCost, CrossEntropyLossCost"):
        MatchingCost.of([FocalLossCost(), *right[1:]])
    with pytest.raises(DataError, match="compared in another way, expected use_sigmoid=True"):
        MatchingCost.of([*right[:2], DiceCost(pred_act=False)])
