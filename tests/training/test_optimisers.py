"""Which parameters an optimiser moves, and how it decays them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.sections import OptimizerConfig
from dermlens.training.optimisers import KerasAdam, backbone_blocks, make_optimizer


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


def rates(optimizer):
    """The rate of each parameter, by identity."""
    return {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}


@pytest.fixture
def lesion_model():
    config = ModelConfig(backbone="mobilenet_v3_small", attention="none", pool="gap", metadata="none")
    return build_classifier(config, num_classes=7, meta_width=0, size=64)


def test_layer_wise_rates_fall_by_the_same_factor_from_block_to_block(lesion_model):
    config = OptimizerConfig(kind="adamw", lr=0.5, weight_decay=0.1, layer_decay=0.5)
    rate = rates(make_optimizer(config, lesion_model))
    named = {name: rate[id(p)] for name, p in lesion_model.named_parameters()}
    assert named["head.linear.weight"] == named["head.linear.bias"] == 0.5
    assert named["backbone.blocks.5.0.conv.weight"] == 0.25
    assert named["backbone.blocks.4.0.conv_pw.weight"] == named["backbone.blocks.4.2.bn3.bias"] == 0.125
    assert named["backbone.conv_stem.weight"] == min(named.values()) == 0.5 * 0.5**8


def test_layer_decay_of_one_is_one_rate(lesion_model):
    optimizer = make_optimizer(OptimizerConfig(kind="adamw", lr=0.5, weight_decay=0.1), lesion_model)
    assert set(rates(optimizer).values()) == {0.5}
    assert len(optimizer.param_groups) == 2


def test_first_group_has_the_recipes_rate(lesion_model):
    """The history writes down the rate of the first group."""
    config = OptimizerConfig(kind="adamw", lr=0.5, weight_decay=0.1, layer_decay=0.9)
    assert make_optimizer(config, lesion_model).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    "name", ["densenet201", "mobilenet_v2", "efficientnet_lite0", "resnet50", "nasnet_mobile"]
)
def test_every_backbone_is_a_chain_of_blocks(name):
    with torch.device("meta"):
        config = ModelConfig(backbone=name, attention="none", pool="gap", metadata="none")
        model = build_classifier(config, num_classes=7, meta_width=0, size=96)
    blocks = backbone_blocks(model)
    assert len(blocks) >= 5
    covered = [n for n, _ in model.named_parameters() if n.startswith(tuple(f"{block}." for block in blocks))]
    assert sorted(covered) == sorted(n for n, _ in model.named_parameters() if n.startswith("backbone."))
