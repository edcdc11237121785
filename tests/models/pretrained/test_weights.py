from __future__ import annotations

import pytest
import timm
import torch
from models.conftest import config_of
from safetensors.torch import save_file

from dermlens.errors import UserError
from dermlens.models.classifier import build_classifier
from dermlens.models.cuts import build_backbone

NAME, MODEL = "mobilenet_v3_small", "tf_mobilenetv3_small_100"


@pytest.fixture
def state():
    return timm.create_model(MODEL).state_dict()


def test_file_of_the_uncut_network_starts_the_cut_one(tmp_path, state):
    half = {k: v.half() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    save_file(half, tmp_path / "imagenet.safetensors")
    config = config_of(NAME, "paper", weights=str(tmp_path / "imagenet.safetensors"))
    loaded = build_classifier(config, num_classes=7, meta_width=21, size=64).backbone.state_dict()
    for key, tensor in loaded.items():
        if not key.endswith("num_batches_tracked"):
            assert tensor.dtype == torch.float32
            torch.testing.assert_close(tensor, half[key].float())


def test_file_may_lack_what_the_cut_takes_away(tmp_path, state):
    kept = {k: v for k, v in state.items() if not k.startswith(("classifier", "conv_head", "blocks.5"))}
    save_file(kept, tmp_path / "part.safetensors")
    build_backbone(NAME, "paper", weights=str(tmp_path / "part.safetensors"))
    with pytest.raises(UserError, match=r"part\.safetensors.*mobilenet_v3_small.*blocks\.5"):
        build_backbone(NAME, "full", weights=str(tmp_path / "part.safetensors"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s.pop("conv_stem.weight"), "1 of mobilenet_v3_small"),
        (lambda s: s.update(other=torch.zeros(1)), "other .*mobilenet_v3_small"),
        (lambda s: s.update({"bn1.bias": torch.zeros(5)}), r"bn1\.bias has shape \(5,\)"),
    ],
)
def test_foreign_file_is_refused(tmp_path, state, change, sentence):
    change(state)
    save_file(state, tmp_path / "odd.safetensors")
    with pytest.raises(UserError, match=sentence):
        build_backbone(NAME, "paper", weights=str(tmp_path / "odd.safetensors"))


def test_damaged_and_absent_files_are_named(tmp_path, state):
    path = tmp_path / "cut_short.safetensors"
    save_file(state, path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"cut_short\.safetensors"):
        build_backbone(NAME, "paper", weights=str(path))
    with pytest.raises(UserError, match=r"nowhere\.safetensors"):
        build_backbone(NAME, "paper", weights=str(tmp_path / "nowhere.safetensors"))


@pytest.mark.parametrize("name", [NAME, "mobilenet_v2"])
def test_unreachable_hub_is_one_sentence(monkeypatch, name):
    def unreachable(*args, **kwargs):
        raise OSError("Name or service not known\nretries exceeded")

    monkeypatch.setattr("dermlens.models.pretrained.sources.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr("dermlens.models.pretrained.sources._probe", unreachable)
    with pytest.raises(UserError, match=r"hub.*Name or service") as caught:
        build_backbone(name, "paper", weights="hub", form="library")
    assert "\n" not in str(caught.value)
