"""Which parameters an optimiser moves, and how it decays them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dermlens.training.config import OptimizerConfig
from dermlens.training.keras_adam import KerasAdam
from dermlens.training.optimisers import make_optimizer


@pytest.fixture
def model():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model.register_parameter("gamma", nn.Parameter(torch.ones(())))
    model[1].weight.requires_grad_(False)
    return model


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("keras_adam", KerasAdam),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
    ],
)
def test_every_trainable_parameter_once(model, kind, expected):
    optimizer = make_optimizer(OptimizerConfig(kind=kind, lr=0.5, eps=0.25), model)
    assert type(optimizer) is expected
    moved = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(moved) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert all(group["lr"] == 0.5 for group in optimizer.param_groups)
    if kind != "sgd":
        assert all(group["eps"] == 0.25 for group in optimizer.param_groups)


def test_weight_decay_reaches_weights_alone(model):
    """With gradients of zero AdamW's decay is all that moves anything."""
    optimizer = make_optimizer(OptimizerConfig(kind="adamw", lr=0.1, weight_decay=0.5), model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"0.weight", "3.weight"}
