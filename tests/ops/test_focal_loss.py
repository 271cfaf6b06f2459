"""The focal loss against a loop that follows the definition."""

import math
from itertools import product

import lesionseg  # noqa: F401  # isort: skip  It has to come before mmcv.ops, which then finds its operators.
import mmcv.ops
import pytest
import torch
from operator_inputs import random
from torch.autograd import gradcheck


def loop_focal_loss(logits, target, weight, gamma, alpha):
    output = torch.zeros_like(logits)
    for n, c in product(range(logits.shape[0]), range(logits.shape[1])):
        p = 1 / (1 + math.exp(-float(logits[n, c])))
        if target[n] == c:
            loss = -alpha * (1 - p) ** gamma * math.log(p)
        else:
            loss = -(1 - alpha) * p**gamma * math.log(1 - p)
        output[n, c] = loss * (float(weight[target[n]]) if weight is not None else 1)
    return output


@pytest.mark.parametrize("weight", [None, torch.tensor([0.5, 2.0, 1.0])])
def test_focal_loss_follows_the_definition(weight):
    logits, target = 2 * random(6, 3), torch.tensor([0, 2, 1, 1, 0, 2])
    loss = mmcv.ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, weight, "none")
    torch.testing.assert_close(loss, loop_focal_loss(logits, target, weight, 2.0, 0.25))


def test_focal_loss_of_no_class_is_negative_for_all():
    logits = random(1, 3)
    loss = mmcv.ops.sigmoid_focal_loss(logits, torch.tensor([3]), 2.0, 0.25, None, "none")
    p = logits.sigmoid()
    torch.testing.assert_close(loss, -0.75 * p**2 * (1 - p).log())


def test_focal_loss_gradient():
    logits = random(4, 3, dtype=torch.float64).requires_grad_()
    weight = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    target = torch.tensor([0, 2, 1, 1])
    assert gradcheck(
        lambda x: mmcv.ops.sigmoid_focal_loss(x, target, 1.5, 0.25, weight, "mean"), logits, fast_mode=True
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_focal_loss_on_a_gpu():
    logits, target = random(6, 3), torch.tensor([0, 2, 1, 1, 0, 3])
    loss = mmcv.ops.sigmoid_focal_loss(logits.cuda(), target.cuda(), 2.0, 0.25, None, "none")
    torch.testing.assert_close(loss.cpu(), loop_focal_loss(logits, target, None, 2.0, 0.25))
