from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from saved_models import sha256

from dermlens.errors import UserError
from dermlens.export import verification
from dermlens.export.engines import ENGINES
from dermlens.export.onnx_export import as_network
from dermlens.export.verification import export_verified
from dermlens.labels import CLASSES
from dermlens.models.saved import load_model, save_dermoscopy
from dermlens.predict.document import Dermoscopy, OnnxFile, read_document

MEL = CLASSES.index("mel")


def test_an_export_that_agrees_is_kept_with_its_numbers(run, exported, tmp_path):
    pytest.importorskip("openvino", reason="pip install 'dermlens[openvino]'")
    shutil.copyfile(exported / "model.onnx", tmp_path / "model.onnx")
    found = export_verified(run.path, tmp_path, "openvino", cache_root=tmp_path / "cache")
    output = json.loads((tmp_path / "export.json").read_text())["openvino"]
    assert output == found
    assert output["format"] == "openvino"
    assert output["sha256"] == {name: sha256(tmp_path / name) for name in ("model.xml", "model.bin")}
    split = run.split()
    assert output["numbers"]["images"] == len(split.ids("selection")) + len(split.ids("calibration"))
    assert 0 < output["numbers"]["largest_difference"] < 1e-5
    assert output["numbers"]["agreement"] == 1
    assert output["limits"] == {"largest_difference": 1e-4, "agreement": 0.999}
    assert {path.name for path in tmp_path.iterdir()} == {
        "cache", "export.json", "model.bin", "model.onnx", "model.xml"
    }  # fmt: skip


def test_entries_stay_as_long_as_their_files(run, fake, monkeypatch, tmp_path):
    monkeypatch.setitem(ENGINES, "other", replace(ENGINES["fake"], files=("other.fake",)))
    (tmp_path / "export.json").write_text(json.dumps({"other": {}, "onnx": {}, "gone": {}}))
    (tmp_path / "other.fake").write_text("there")
    export_verified(run.path, tmp_path, "fake", cache_root=tmp_path / "cache")
    assert set(json.loads((tmp_path / "export.json").read_text())) == {"other", "fake"}


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (lambda logits_BC: logits_BC + 0.01 * np.arange(7, dtype=np.float32), "probability"),
        (lambda logits_BC: logits_BC[:, ::-1], "diagnosis|probability"),
        (lambda logits_BC: logits_BC * np.float32("nan"), "probability.* nan"),
    ],
    ids=["a little", "turned round", "no numbers"],
)
def test_an_export_that_differs_leaves_nothing(run, fake, tmp_path, change, output):
    fake["by"] = change
    with pytest.raises(UserError, match=rf"fake.*({output})"):
        export_verified(run.path, tmp_path / "out", "fake", cache_root=tmp_path / "cache")
    assert not list((tmp_path / "out").iterdir())


def test_an_export_must_agree_on_what_is_dermoscopy(run, fake, tmp_path):
    """Features that differ change no logit, and still who gets an answer."""
    source = shutil.copytree(run.path, tmp_path / "run")
    saved = load_model(source)
    meta_1M = saved.encoder.encode([float("nan")], ["unknown"], ["unknown"])
    width = as_network(saved)(np.zeros((1, 64, 64, 3), np.uint8), meta_1M)[1].shape[1]
    sides = {"dermoscopic": {"own": 9}, "other": {"street": 9}}
    save_dermoscopy(source, Dermoscopy(weights=(1.0,) * width, bias=1e5, kept=0.98, **sides))
    found = export_verified(source, tmp_path / "out", "fake", cache_root=tmp_path / "cache")
    assert found["numbers"]["dermoscopy_agreement"] == 1
    fake["features"] = lambda features_BD: features_BD - 1e6
    with pytest.raises(UserError, match="dermoscopy"):
        export_verified(source, tmp_path / "out", "fake", cache_root=tmp_path / "cache")


def test_an_older_file_is_left_alone_when_the_new_one_is_refused(run, fake, tmp_path):
    export_verified(run.path, tmp_path / "out", "fake", cache_root=tmp_path / "cache")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    fake["by"] = lambda logits_BC: logits_BC + 0.01 * np.arange(7, dtype=np.float32)
    with pytest.raises(UserError, match="not written"):
        export_verified(run.path, tmp_path / "out", "fake", cache_root=tmp_path / "cache")
    assert before == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}


def test_without_images_lesions_are_drawn(run, fake, tmp_path):
    for name in ("model.json", "model.safetensors"):
        shutil.copyfile(run.path / name, tmp_path / name)
    found = export_verified(tmp_path, tmp_path / "out", "fake")
    assert found["images"] == "drawn lesions"
    assert found["numbers"]["images"] >= verification.DRAWN
    with pytest.raises(UserError, match="no run"):
        export_verified(tmp_path, tmp_path / "out", "fake", data=tmp_path)


def test_images_that_are_named_must_be_there(run, fake, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        export_verified(run.path, tmp_path, "fake", data=tmp_path / "nowhere")
    assert not list(tmp_path.iterdir())


def test_an_unknown_engine_and_an_absent_extra(run, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"'opnvino'.*nearest: openvino"):
        export_verified(run.path, tmp_path, "opnvino")
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(UserError, match=r"dermlens\[openvino\]"):
        export_verified(run.path, tmp_path, "openvino")


def test_int8_is_judged_by_what_it_loses(run, fake, exported, tmp_path, monkeypatch):
    """The file of a folder whose model.onnx is int8 may differ in probabilities, but not lose melanomas."""
    monkeypatch.setattr("dermlens.export.int8.FEWEST", {"sought": 1, "other": 1})
    document = read_document(run.path / "model.json")
    onnx = OnnxFile(sha256="0" * 64, precision="int8", largest_difference=0.1)
    (tmp_path / "model.json").write_text(document.model_copy(update={"onnx": onnx}).model_dump_json())
    shutil.copyfile(exported / "model.onnx", tmp_path / "model.onnx")
    fake["by"] = lambda logits_BC: logits_BC + np.float32(0.5)  # of all classes: nothing else is named
    found = export_verified(run.path, tmp_path, "fake", cache_root=tmp_path / "cache")
    assert found["precision"] == "int8"
    assert found["numbers"]["loss"]["mel_recall"]["lost_at_most"] == 0
    assert found["limits"]["may_lose"] == {"mean_recall": 0.01, "sought_recall": 0.02}

    monkeypatch.setattr(verification, "compare", lambda *words: {"accepted": False, "why": "recall falls"})
    with pytest.raises(UserError, match="recall"):
        export_verified(run.path, tmp_path, "fake", cache_root=tmp_path / "cache")
