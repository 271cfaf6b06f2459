"""Optimizers that hold their parameters in few groups."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

import lesionseg.openmmlab  # noqa: F401

SETTINGS = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-2, weight_decay=0.1, fused=True),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1, decay_mult=1.0)), norm_decay_mult=0.0),
)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU())
        self.neck = nn.Sequential(nn.Linear(5, 5), nn.BatchNorm1d(5))
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.neck(self.backbone(x)))


def trained(constructor):
    model = Model()
    wrapper = build_optim_wrapper(model, dict(SETTINGS, constructor=constructor))
    for step in range(5):
        inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(step))
        wrapper.update_params(model(inputs).square().mean())
    return model, wrapper


def test_parameters_of_the_same_settings_share_a_group_and_learn_as_alone():
    alone, many = trained("DefaultOptimWrapperConstructor")
    together, few = trained("GroupedOptimWrapperConstructor")
    assert len(many.optimizer.param_groups) == 10
    settings = [(group["lr"], group["weight_decay"]) for group in few.optimizer.param_groups]
    # The backbone's; the neck's linear layer and the head; the neck's norm.
    assert settings == [pytest.approx(pair) for pair in [(1e-3, 0.1), (1e-2, 0.1), (1e-2, 0.0)]]
    for name, value in alone.state_dict().items():
        assert torch.equal(value, together.state_dict()[name]), name


def test_every_parameter_is_in_one_group():
    model, wrapper = trained("GroupedOptimWrapperConstructor")
    held = [parameter for group in wrapper.optimizer.param_groups for parameter in group["params"]]
    assert len(held) == len(list(model.parameters()))
    assert {id(parameter) for parameter in held} == {id(parameter) for parameter in model.parameters()}


@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        (dict(type="AdamW"), True),
        (dict(type="AdamW", fused=False), False),
        (dict(type="AdamW", foreach=True), None),
        (dict(type="SGD"), None),
    ],
)
def test_adam_is_fused_unless_the_config_says_otherwise(optimizer, fused):
    optimizer = dict(optimizer, lr=1e-2, weight_decay=0.1)
    settings = dict(SETTINGS, constructor="GroupedOptimWrapperConstructor", optimizer=optimizer)
    assert build_optim_wrapper(Model(), settings).optimizer.defaults["fused"] is fused
