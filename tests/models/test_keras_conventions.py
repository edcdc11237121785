"""How Keras trains a network: batch norm and dropout of keras.applications, initialisers of Keras."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch
from torch import nn

from dermlens.models.architectures import glorot_uniform_, he_normal_, keras_fans
from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.models.cuts import build_backbone
from dermlens.models.table import BACKBONES
from dermlens.recipe import load_recipe, shipped_recipes
from paper.study import load_systems

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras", reason="Keras is the oracle; it comes with the dev requirements")
from keras.src.applications.nasnet import NASNet  # noqa: E402

SMALL = {
    "mobilenet": keras.applications.MobileNet,
    "mobilenet_v2": keras.applications.MobileNetV2,
    "mobilenet_v3_small": keras.applications.MobileNetV3Small,
    "mobilenet_v3_large": keras.applications.MobileNetV3Large,
    "resnet50": keras.applications.ResNet50,
}
LARGE = {
    "densenet201": keras.applications.DenseNet201,
    "inception_resnet_v2": keras.applications.InceptionResNetV2,
    "nasnet_large": keras.applications.NASNetLarge,
    # what NASNetMobile is, which refuses Keras's torch backend
    "nasnet_mobile": lambda weights: NASNet(
        (224, 224, 3), 1056, 4, 32, False, 2, True, weights, classes=1000, default_size=224
    ),
    "resnet152": keras.applications.ResNet152,
}


def compare(name: str, kind) -> None:
    theirs = kind(weights=None)
    norms = [layer for layer in theirs.layers if isinstance(layer, keras.layers.BatchNormalization)]
    drops = [layer.rate for layer in theirs.layers if isinstance(layer, keras.layers.Dropout)]
    with torch.device("meta"):
        ours = list(build_backbone(name, "plain").modules())
    found = [module for module in ours if isinstance(module, nn.BatchNorm2d)]
    assert len(found) == len(norms)
    assert {(norm.eps, round(1 - norm.momentum, 6)) for norm in found} == {
        (norm.epsilon, norm.momentum) for norm in norms
    }
    assert [module.p for module in ours if isinstance(module, nn.Dropout) and module.p] == drops


@pytest.mark.parametrize("name", SMALL)
def test_batch_norm_and_dropout_are_those_of_keras_applications(name):
    compare(name, SMALL[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_batch_norm_and_dropout_of_the_large_networks(name):
    compare(name, LARGE[name])


SHAPES = {  # Keras's shape of a kernel → ours
    (21, 4096): (4096, 21),
    (3, 3, 16, 40): (40, 16, 3, 3),
    (5, 5, 24, 1): (24, 1, 5, 5),  # depthwise
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("glorot_uniform", glorot_uniform_), ("he_normal", he_normal_)],
    ids=["glorot_uniform", "he_normal"],
)
def test_initialisers_draw_as_keras_does(shape, theirs, ours):
    """By deviation and tail, of enough draws; Keras's truncation lets one in some 200,000 through."""
    torch.manual_seed(0)
    draw = keras.initializers.get(theirs)
    draw.seed = keras.random.SeedGenerator(0)
    times = math.ceil(20_000 / math.prod(shape))
    want = torch.stack([draw(shape).detach().cpu() for _ in range(times)])
    have = torch.stack([ours(torch.empty(SHAPES[shape])) for _ in range(times)])
    assert float(have.std()) == pytest.approx(float(want.std()), rel=0.03)
    tails = [float(np.quantile(drawn.abs().numpy(), 0.999)) for drawn in (have, want)]
    assert tails[0] == pytest.approx(tails[1], rel=0.02)


def test_fans_are_those_of_keras():
    fans = keras.src.initializers.random_initializers.compute_fans
    for theirs, ours in SHAPES.items():
        assert keras_fans(torch.empty(ours)) == fans(theirs)


def small(**settings):
    torch.manual_seed(0)
    config = ModelConfig(backbone="mobilenet_v3_small", cut="paper", attention="original", **settings)
    return build_classifier(config, num_classes=7, meta_width=21, size=64)


@torch.no_grad()
def test_dense_layers_of_the_head_start_as_in_keras():
    head = small(conventions="keras").head
    for layer in (head.linear, head.branch.linear):
        outputs, inputs = layer.weight.shape
        limit = math.sqrt(6 / (inputs + outputs))
        assert float(layer.weight.abs().max()) == pytest.approx(limit, rel=1e-3)
        assert float(layer.weight.std()) == pytest.approx(limit / math.sqrt(3), rel=0.02)
        assert not layer.bias.any()
    library = small(conventions="library").head.branch.linear
    ratio = float(library.weight.abs().max() / head.branch.linear.weight.abs().max())
    assert ratio == pytest.approx(5.7, abs=0.05)


def test_the_form_of_keras_brings_its_conventions_and_a_form_that_only_follows_from_weights_does_not():
    assert ModelConfig(form="keras").resolved_conventions == "keras"
    assert ModelConfig(form="keras", conventions="library").resolved_conventions == "library"
    assert ModelConfig().resolved_form == "keras"
    assert ModelConfig().resolved_conventions == "library"
    hub = ModelConfig(backbone="resnet50", weights="hub", conventions="keras")
    assert (hub.resolved_form, hub.resolved_conventions) == ("library", "keras")


def test_conventions_change_nothing_that_a_trained_network_computes():
    ours, theirs = small(conventions="keras"), small(conventions="library")
    theirs.load_state_dict(ours.state_dict())
    x_BCHW, meta_BM = torch.rand(2, 3, 64, 64) * 255, torch.randn(2, 21)
    with torch.inference_mode():
        same = [network.eval()(x_BCHW, meta_BM)[0] for network in (ours, theirs)]
    assert torch.equal(*same)


def test_every_recipe_of_the_paper_trains_as_keras_does():
    recipes = [name for name in shipped_recipes() if name.startswith("paper/")]
    assert {system.recipe for system in load_systems().values()} <= set(recipes)
    assert {load_recipe(name).model.resolved_conventions for name in recipes} == {"keras"}


@torch.no_grad()
@pytest.mark.parametrize("name", ["nasnet_mobile", "vgg16", "mobilenet_v2"])
def test_a_random_backbone_starts_as_in_keras(name):
    torch.manual_seed(0)
    network = build_backbone(name, "full")
    for module_name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            inputs, outputs = keras_fans(module.weight)
            normal = BACKBONES[name].keras.he_normal and "pointwise" not in module_name
            want = math.sqrt(2 / inputs) if normal else math.sqrt(2 / (inputs + outputs))
            assert float(module.weight.std()) == pytest.approx(want, rel=0.04), module_name
        elif isinstance(module, nn.BatchNorm2d):
            assert bool((module.weight == 1).all())
            assert not module.bias.any()
