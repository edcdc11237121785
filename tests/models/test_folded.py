"""Starts of folded filters: another length of each filter, the same network."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from dermlens.errors import UserError
from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.models.cuts import build_backbone
from dermlens.models.initial_weights import FILTER_NORMS, rescale_file, start_note, start_of_file
from paper.study import start_of

NAME = "mobilenet_v3_large"
NOTE = "a stand-in of random filters, not Google's"


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    """Random tensors laid out as the warm start's: γ is s times the deviation, s = 4 before an h-swish."""
    torch.manual_seed(0)
    state = build_backbone(NAME, "plain").state_dict()
    for name, tensor in state.items():
        if name.endswith("running_var"):
            norm = name.removesuffix(".running_var")
            factor = 4 if norm.startswith(("blocks.3", "blocks.4", "blocks.5", "blocks.6", "bn1")) else 1
            factor = 1 if norm.endswith("bn3") else factor
            tensor.copy_(torch.rand_like(tensor) ** 4 * 3000 + 1e-6)
            state[f"{norm}.weight"].copy_(factor * (tensor + 1e-3).sqrt())
            state[f"{norm}.bias"].normal_()
            state[f"{norm}.running_mean"].normal_().mul_(tensor.sqrt())
    state = {name: tensor.half() for name, tensor in state.items() if "num_batches" not in name}
    path = tmp_path_factory.mktemp("start") / "folded.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(scope="module")
def rescaled(folded):
    out = folded.parent / "starts" / f"{NAME}-rescaled.safetensors"
    rescale_file(NAME, folded, out, note=NOTE, divide_map=4)
    return out


def features(path, *, training: bool = False, **settings):
    """A double-precision map of two random images at the paper's cut, divided as the configuration says."""
    config = ModelConfig(backbone=NAME, cut="paper", weights=str(path), attention="original", **settings)
    model = build_classifier(config, num_classes=7, meta_width=21, size=64).double().train(training)
    maps = []
    model.head.register_forward_pre_hook(lambda _module, args: maps.append(args[0]))
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(2, 3, 64, 64, generator=generator, dtype=torch.float64) * 255
    with torch.inference_mode():
        model(pixels, torch.zeros(2, 21, dtype=torch.float64))
    return maps[0]


def test_the_map_at_the_cut_is_that_of_the_start(folded, rescaled):
    before, after = features(folded), features(rescaled)
    assert float((before - after).abs().max() / before.abs().max()) < 1e-5  # float32 of both files


def test_the_map_is_divided_by_the_stated_constant(folded, rescaled):
    before, after = features(folded), features(rescaled, divide_map=4)
    torch.testing.assert_close(after * 4, features(rescaled), rtol=1e-12, atol=0)
    assert float((before / 4 - after).abs().max() / after.abs().max()) < 1e-5


def test_every_filter_has_the_norm_of_its_kind(rescaled):
    network = build_backbone(NAME, "paper", weights=str(rescaled))
    seen = set()
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and ".se." not in name:
            (length,) = {round(float(one), 3) for one in module.weight.detach().flatten(1).norm(dim=1)}
            kind = next(
                kind for kind, norm in FILTER_NORMS.items() if norm == pytest.approx(length, abs=2e-3)
            )
            seen.add(kind)
            assert (kind == "depthwise") == (module.groups > 1)
    assert seen == set(FILTER_NORMS)


def test_the_file_says_what_it_is_and_the_study_heeds_it(rescaled):
    assert start_of_file(rescaled) == (NOTE, 4.0)
    assert start_note(str(rescaled)) == NOTE
    assert start_note("hub") == ""
    assert start_of(NAME, rescaled.parent) == (f"model.weights={rescaled}", "model.divide_map=4.0")
    with safe_open(rescaled, framework="pt") as file:
        assert json.loads(file.metadata()["dermlens"])["filter_norms"] == FILTER_NORMS


def test_a_filter_of_zeros_and_an_entry_that_lacks_are_left(folded, tmp_path):
    state = load_file(folded)
    state["blocks.3.0.conv_pw.weight"][0] = 0
    lacking = {name: tensor for name, tensor in state.items() if not name.startswith("classifier")}
    save_file(lacking, tmp_path / "a.safetensors")
    rescale_file(NAME, tmp_path / "a.safetensors", tmp_path / "b.safetensors", note=NOTE)
    out = load_file(tmp_path / "b.safetensors")
    assert set(out) == set(lacking)
    assert not out["blocks.3.0.conv_pw.weight"][0].any()
    assert all(bool(tensor.isfinite().all()) for tensor in out.values())


def test_another_networks_file_is_refused(folded, tmp_path):
    with pytest.raises(UserError, match="mobilenet_v2"):
        rescale_file("mobilenet_v2", folded, tmp_path / "x.safetensors", note=NOTE)
