"""`dermlens export` as a person uses it: several formats, each verified, next to what predicts."""

from __future__ import annotations

import json
import shutil

import pytest

from dermlens.export import verification
from dermlens.predict.predictor import shipped_folder


@pytest.fixture
def export(dermlens, tmp_path):
    """Run the verb with a cache of its own."""
    return lambda *words: dermlens("export", *words, "--cache", tmp_path / "cache")


def test_several_formats_beside_what_predicts(export, monkeypatch, tmp_path):
    """The model that ships, on a few drawn lesions: its images are not in the package."""
    monkeypatch.setattr(verification, "DRAWN", 7)
    source = shutil.copytree(shipped_folder(), tmp_path / "model")
    code, out, err = export(source, "--format", "openvino", "--format", "torch", "--format", "onnx")
    assert (code, err) == (0, "")
    folder = source / "export"
    assert {"model.onnx", "model.xml", "model.bin", "model.pt2", "export.json"} <= {
        path.name for path in folder.iterdir()
    }
    output = json.loads((folder / "export.json").read_text())
    assert list(output) == ["onnx", "openvino", "torch"]
    for name, one in output.items():
        assert one["numbers"]["agreement"] == 1
        assert one["numbers"]["largest_difference"] < one["limits"]["largest_difference"]
        assert f"{name}, fp32: on {one['numbers']['images']} images (drawn lesions)" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--format", "tflite"), "'tflite'"),
        (("--format", "onnx", "--data", "/nowhere"), "no split"),
    ],
)
@pytest.mark.usefixtures("no_export")
def test_rubbish_gets_one_sentence(export, exported, tmp_path, words, sentence):
    code, _, err = export(shutil.copytree(exported, tmp_path / "model"), *words)
    assert code == 2
    (line,) = err.splitlines()
    assert sentence in line
