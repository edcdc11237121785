"""Networks of related systems that are trained from random weights: they plug in, and are what they say."""

from __future__ import annotations

import itertools

import pytest
import torch

from dermlens.models.classifier import build_classifier
from dermlens.testing import check_backbone
from related.own_cnn import own_cnn
from related.study import load_study
from related.two_paths import TwoPaths


@pytest.mark.parametrize("name", ["related.two_paths:two_paths", "related.own_cnn:own_cnn"])
def test_they_are_backbones(name):
    check_backbone(name, size=48)


def test_two_paths_are_set_side_by_side_and_do_not_hear_of_each_other():
    net = TwoPaths((4, 6), (3, 5), 2).eval()
    x_B3HW = torch.rand(2, 3, 16, 16)
    before = net(x_B3HW)
    assert before.shape == (2, 12, 4, 4)
    with torch.no_grad():
        net.paths[1][0].weight.zero_()
    after = net(x_B3HW)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_a_path_excites_its_channels_as_the_article_on_squeezing_says():
    """s = σ(W₂·ReLU(W₁·z)), z the channel means, and the map times s (Hu et al. 2018, Eq. 2 to 4)."""
    net = TwoPaths((4,), (3,), 2).eval()
    block = net.paths[0][3]
    x_BCHW = torch.rand(1, 4, 5, 5)
    z_C = x_BCHW.mean((2, 3))[0]
    w1, b1, w2, b2 = (getattr(layer, key) for layer in (block.fc1, block.fc2) for key in ("weight", "bias"))
    s_C = torch.sigmoid(w2[:, :, 0, 0] @ torch.relu(w1[:, :, 0, 0] @ z_C + b1) + b2)
    torch.testing.assert_close(block(x_BCHW), x_BCHW * s_C[None, :, None, None])


def test_the_own_network_has_the_parameters_of_its_layers():
    widths = (3, 8, 16)
    convolutions = sum(9 * a * b for a, b in itertools.pairwise(widths))
    assert sum(p.numel() for p in own_cnn((8, 16)).parameters()) == convolutions + 2 * (8 + 16)


@pytest.mark.parametrize("name", ["resnet50", "related.own_cnn:vgg16", "timm:efficientnet_b0"])
def test_networks_without_a_start_here_run_all_the_same(name):
    check_backbone(name, size=64)


SIDES = {"b0": 224, "b1": 240, "b2": 260, "b3": 300, "b4": 380, "b5": 456, "b6": 528}


@pytest.mark.parametrize("size", SIDES)
def test_efficientnets_run_each_at_its_size(size):
    side = SIDES[size]
    study = load_study()
    system = study.systems["gessert-efficientnet"]
    recipe = study.recipe_of(
        system, f"model.backbone=timm:efficientnet_{size}", f"data.size={side}", "model.weights=none"
    )
    model = build_classifier(recipe.model, num_classes=7, meta_width=0, size=side).eval()
    with torch.inference_mode():
        logits_BC, _ = model(torch.zeros(1, 3, side, side, dtype=torch.uint8))
    assert logits_BC.shape == (1, 7)
    assert torch.isfinite(logits_BC).all()
