"""What is edited, swapped or put next to a model is refused; models of an earlier version are read."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from dermlens.errors import UserError
from dermlens.predict.document import read_document, write_document
from dermlens.predict.model_files import FILES, check_file, content_sha256
from dermlens.predict.network import OnnxNetwork
from dermlens.predict.predictor import UNSEALED, Predictor, shipped_folder


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(shipped_folder(), tmp_path / "model")


def edited(folder, change):
    content = json.loads((folder / "model.json").read_text())
    change(content)
    (folder / "model.json").write_text(json.dumps(content))


def swap_classes(content):
    content["classes"][4:6] = reversed(content["classes"][4:6])
    content["decision"]["classes"] = content["classes"]


def shift_ages(content):
    content["encoder"]["age_mean"] += 10


def lift_limits(content):
    content["onnx"]["limits"] = []


def test_the_shipped_model_is_sealed():
    """After a change of one of its files: write_document(folder, read_document(folder / "model.json"))."""
    folder = shipped_folder()
    manifest = read_document(folder / "model.json").manifest
    files = {path.name for path in folder.iterdir()}
    assert files == set(manifest)
    assert files <= {*FILES, "model.json"}
    for name in files - {"model.json"}:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == manifest[name]


@pytest.mark.parametrize("change", [swap_classes, shift_ages, lift_limits])
def test_an_edited_document_is_refused(folder, change):
    before = Predictor.open(folder).id
    edited(folder, change)
    with pytest.raises(UserError, match=r"model\.json.*changed"):
        Predictor.open(folder)
    write_document(folder, read_document_without_manifest(folder))
    assert Predictor.open(folder).id != before  # whoever seals it anew has another model


def read_document_without_manifest(folder):
    edited(folder, lambda content: content.pop("manifest"))
    return read_document(folder / "model.json")


def test_another_layout_is_the_same_document(folder):
    before = Predictor.open(folder).id
    content = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(dict(reversed(content.items())), indent=7))
    assert Predictor.open(folder).id == before == f"mobilenet_v2-288-{content_sha256(content)[:12]}"


SHIPPED = [path.name for path in shipped_folder().iterdir() if path.name != "model.json"]


@pytest.mark.parametrize("name", SHIPPED)
def test_a_file_that_was_changed_is_refused(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}.*model.json"):
        Predictor.open(folder)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_file_that_is_gone_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"{name}"):
        Predictor.open(folder)


def test_without_its_manifest_every_answer_says_so_and_swapped_classes_have_another_id(folder):
    assert UNSEALED not in Predictor.open(folder).limits
    edited(folder, lambda content: content.pop("manifest"))
    before = Predictor.open(folder)
    edited(folder, swap_classes)
    after = Predictor.open(folder)
    assert UNSEALED in before.limits
    assert UNSEALED in after.limits
    assert after.id != before.id


def test_every_file_can_be_checked(folder):
    manifest = read_document(folder / "model.json").manifest
    for name in FILES:
        check_file(folder, name, manifest)
    (folder / "LICENSE").write_text("public domain")
    with pytest.raises(UserError, match="LICENSE"):
        check_file(folder, "LICENSE", manifest)


def test_a_model_of_an_earlier_version_is_read(folder):
    edited(folder, lambda content: content.pop("manifest"))
    assert Predictor.open(folder).id.startswith("mobilenet_v2-288-")
    (folder / "model.onnx").write_bytes(b"another")
    with pytest.raises(UserError, match=r"model\.json"):
        Predictor.open(folder)


def test_data_outside_of_an_onnx_file_are_refused(tmp_path, monkeypatch):
    """ONNX Runtime reads them from the working folder, whoever put them there."""
    weight = numpy_helper.from_array(np.ones((4, 4), np.float32), "w")
    one, two = (helper.make_tensor_value_info(name, 1, [1, 4]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [one], [two], [weight])
    onnx.save(
        helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)]),
        tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0,
    )  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="other files"):
        OnnxNetwork((tmp_path / "model.onnx").read_bytes(), "model.onnx")
