from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision

from dermlens.models import cuts
from dermlens.models.cuts import build_backbone, cut_at, feature_shape
from dermlens.models.table import BACKBONES

from .conftest import EVERY_CUT, SMALLEST

BEFORE_RELU = {("inception_resnet_v2", "paper"), ("mobilenet_v2", "paper")}


@pytest.mark.parametrize("name", [name for name, row in BACKBONES.items() if row.cuts])
def test_cut_is_what_a_hook_sees_in_the_whole_network(name, monkeypatch):
    """The whole network, hooked at the module, is the oracle; `library` form leaves it untouched."""
    row = BACKBONES[name]
    whole = cuts._create(row, {}).eval()
    seen = {}

    def look_at(cut):
        module = whole.get_submodule("features" if row.cuts[cut] == "relu" else row.cuts[cut])

        def hook(module, args, out):
            if row.cuts[cut] == "relu":  # torchvision's DenseNet ends in a function
                out = out.relu()
            if cut == "paper" and row.ends_before_activation:
                mean, variance = module.running_mean, module.running_var
                out = F.batch_norm(args[0], mean, variance, module.weight, module.bias, eps=module.eps)
            seen[cut] = out.clone()  # what comes after may work in place

        module.register_forward_hook(hook)

    here = [cut for cut in ("full", "paper") if row.has_cut(cut)]
    for cut in here:
        look_at(cut)
    size = SMALLEST.get(name, 64)
    x_BCHW = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        whole(x_BCHW)
    expected = dict(seen)

    monkeypatch.setattr(cuts, "_create", lambda row, settings: whole)
    for cut in here:  # in this order: the paper's cut of InceptionResNetV2 takes a ReLU away
        with torch.inference_mode():
            found = build_backbone(name, cut, form="library")(x_BCHW)
        torch.testing.assert_close(found, expected[cut])
        # the published cuts that come before a ReLU, or after a hard-swish, and no others
        negative = name.startswith("mobilenet_v3") or (name, cut) in BEFORE_RELU
        assert bool((found < 0).any()) == negative


@pytest.mark.parametrize(("name", "cut"), EVERY_CUT)
def test_nothing_behind_the_cut_is_kept(name, cut):
    with torch.device("meta"):
        backbone = build_backbone(name, cut)
    called = {node.target for node in backbone.graph.nodes if node.op == "call_module"}
    owners = {parameter.rpartition(".")[0] for parameter, _ in backbone.named_parameters()}
    assert owners <= called


def test_unknown_place_is_an_error():
    with pytest.raises(ValueError, match=r"no features\.99"):
        cut_at(torchvision.models.mobilenet_v2(), "features.99")
    with pytest.raises(ValueError, match=r"mobilenet.*cut paper"):
        build_backbone("mobilenet", "paper")


def test_feature_shape_leaves_the_network_as_it_was():
    backbone = build_backbone("mobilenet_v3_small", "paper")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    assert feature_shape(backbone, 128) == (576, 4, 4)
    assert backbone.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
