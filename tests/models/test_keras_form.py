from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn

from dermlens.models.cuts import build_backbone
from dermlens.models.table import BACKBONES

EPS = {  # keras.applications
    "densenet201": {1.001e-5},
    "inception_resnet_v2": {1e-3},
    "resnet50": {1.001e-5},
    "resnet152": {1.001e-5},
    "nasnet_large": {1e-3},
    "nasnet_mobile": {1e-3},
    "mobilenet_v2": {1e-3},
    "mobilenet_v3_small": {1e-3},
    "mobilenet_v3_large": {1e-3},
    "vgg16": {1e-3},
    "mobilenet": {1e-3},
    "inception_v3": {1e-3},
    # not of keras.applications: as their authors have it
    "efficientnet_lite0": {1e-3},
    "efficientnet_lite1": {1e-3},
    "efficientnet_lite2": {1e-3},
}


def backbone(name, **settings):
    with torch.device("meta"):
        return build_backbone(name, "plain" if BACKBONES[name].plain else "full", **settings)


@pytest.mark.parametrize("name", BACKBONES)
def test_epsilon_is_that_of_keras(name):
    norms = [module for module in backbone(name).modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == EPS[name]


@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"])
def test_strided_convolutions_of_mobile_networks_pad_as_tensorflow(name):
    strided = [m for m in backbone(name).modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
    assert len(strided) == 5
    assert all(isinstance(conv, Conv2dSame) for conv in strided)


def test_same_padding_puts_the_odd_zero_at_the_end():
    network = build_backbone("mobilenet_v2", "plain")
    conv = network.get_submodule("features.0.0")
    x_BCHW = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(conv(x_BCHW), F.conv2d(F.pad(x_BCHW, (0, 1, 0, 1)), conv.weight, stride=2))


@pytest.mark.parametrize("name", ["resnet50", "resnet152"])
def test_residual_bottlenecks_stride_in_their_first_convolution(name):
    def strided(form):
        modules = backbone(name, form=form).named_modules()
        found = [key for key, m in modules if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
        return [key for key in found if "layer" in key and "downsample" not in key]

    assert strided("keras") == [f"layer{n}.0.conv1" for n in (2, 3, 4)]
    assert strided("library") == [f"layer{n}.0.conv2" for n in (2, 3, 4)]


def test_inception_resnet_v2_learns_no_scale():
    network = backbone("inception_resnet_v2")
    names = {name for name, _ in network.named_parameters()}
    norms = [name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 204
    assert not names & {f"{norm}.weight" for norm in norms}
    assert names >= {f"{norm}.bias" for norm in norms}
    assert {f"{norm}.weight" for norm in norms} <= set(network.state_dict())
    real = build_backbone("inception_resnet_v2", "paper")
    assert all(bool((m.weight == 1).all()) for m in real.modules() if isinstance(m, nn.BatchNorm2d))


def test_both_forms_have_the_same_entries():
    for name in ("mobilenet", "mobilenet_v2", "resnet50"):
        ours, theirs = backbone(name).state_dict(), backbone(name, form="library").state_dict()
        assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
