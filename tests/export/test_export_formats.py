from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from saved_models import save_tiny, sha256

from dermlens.errors import UserError
from dermlens.export import formats as export_module
from dermlens.export import int8, verification
from dermlens.export.formats import export_formats
from dermlens.predict.document import read_document
from dermlens.predict.pictures.preprocessing import ViewsConfig
from dermlens.predict.predictor import Predictor

pytestmark = pytest.mark.usefixtures("no_export")


@pytest.fixture
def source(exported, tmp_path):
    """A model without a run."""
    return shutil.copytree(exported, tmp_path / "source")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_format_is_verified_and_onnx_always(source, fake, tmp_path):
    written = export_formats(source, tmp_path / "out", ["fake"])
    output = json.loads((tmp_path / "out" / "export.json").read_text())
    assert output == written.entries
    assert set(output) == {"onnx", "fake"}
    assert output["onnx"]["sha256"] == {"model.onnx": sha256(tmp_path / "out" / "model.onnx")}
    assert written.refused == ""
    Predictor.open(tmp_path / "out")


@pytest.mark.parametrize("settings", [{"data": Path("/nowhere")}, {"formats": ["onnx-int8"]}])
def test_images_that_are_not_there_are_said_before_a_file_is_made(source, tmp_path, monkeypatch, settings):
    monkeypatch.setattr(export_module, "export_folder", lambda *words, **options: pytest.fail("too late"))
    with pytest.raises(UserError, match="no split"):
        export_formats(source, tmp_path / "out", **({"formats": ["onnx"]} | settings))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("older", [False, True], ids=["new", "there"])
def test_what_differs_leaves_the_folder_as_it_was(source, fake, tmp_path, monkeypatch, older):
    out = tmp_path / "out"
    if older:
        export_formats(source, out, ["fake"])
    before = files(out) if older else {}
    fake["by"] = lambda logits_BC: logits_BC + 0.01 * np.arange(7, dtype=np.float32)
    with pytest.raises(UserError, match="fake"):
        export_formats(source, out, ["fake"])
    assert files(out) == before
    monkeypatch.setattr(verification, "LARGEST", -1.0)
    with pytest.raises(UserError, match="onnx"):
        export_formats(source, out, ["onnx"])
    assert files(out) == before


def test_files_of_the_same_model_stay_and_those_of_another_go(source, fake, tmp_path):
    out = tmp_path / "out"
    export_formats(source, out, ["fake"])
    (out / "mine.txt").write_text("not of an export")
    export_formats(source, out, ["onnx"])
    assert (out / "model.fake").is_file()
    assert set(json.loads((out / "export.json").read_text())) == {"onnx", "fake"}
    document = json.loads((source / "model.json").read_text())
    document["views"]["symmetries"] = 2  # the weights alone do not make the answer
    (source / "model.json").write_text(json.dumps(document | {"manifest": None}))
    export_formats(source, out, ["onnx"])
    assert not (out / "model.fake").exists()
    assert set(json.loads((out / "export.json").read_text())) == {"onnx"}
    assert (out / "mine.txt").is_file()


def test_card_limits_and_measurements_go_along(source, tmp_path):
    card = "# A model\n\n## Files\n\n| `model.onnx` | of before |\n\n## How it was made\n\nBy hand.\n"
    (source / "MODEL_CARD.md").write_text(card)
    (source / "measured.json").write_text("{}")
    for out in (tmp_path / "out", source):
        export_formats(source, out, ["onnx"])
        assert (out / "MODEL_CARD.md").read_text() == "# A model\n\n## How it was made\n\nBy hand.\n"
        assert (out / "measured.json").read_text() == "{}"
        assert read_document(out / "model.json").onnx.limits == ("It has learnt nothing.",)
    export_formats(source, tmp_path / "out", ["onnx"], limits=["Something else."])
    assert read_document(tmp_path / "out" / "model.json").onnx.limits == ("Something else.",)
    save_tiny(tmp_path / "bare", views=ViewsConfig(symmetries=4, sizes=(32, 64)))
    export_formats(tmp_path / "bare", tmp_path / "out", ["onnx"])
    assert not {"MODEL_CARD.md", "measured.json"} & set(files(tmp_path / "out"))


def test_mistakes_are_said_before_the_work(source, tmp_path):
    with pytest.raises(UserError, match=r"'onxn'.*nearest: onnx"):
        export_formats(source, tmp_path / "out", ["onxn"])
    with pytest.raises(UserError, match="is no run"):
        export_formats(source, tmp_path / "out", ["onnx"], data=tmp_path)
    assert not (tmp_path / "out").exists() or not files(tmp_path / "out")


def test_ranges_are_of_all_classes_alike(exported, tmp_path, monkeypatch):
    seen = []

    def stop(content, document, drawn, root):
        seen.append(drawn)
        raise UserError("enough")

    monkeypatch.setattr(int8, "_int8", stop)
    monkeypatch.setattr(int8, "SEEN", 20)
    counts = {"nv": 50, "mel": 10, "df": 3}
    table = pd.DataFrame({"dx": [code for code, count in counts.items() for _ in range(count)]})
    with pytest.raises(UserError, match="enough"):
        int8.quantise(exported, ranges=table, judged=table, cache_root=tmp_path)
    assert seen[0]["dx"].value_counts().sort_index().tolist() in ([3, 8, 9], [3, 9, 8])
