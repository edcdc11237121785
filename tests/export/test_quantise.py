from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from saved_models import draw, save_tiny, sha256

from dermlens.data.split import make_split
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.export.int8 import quantise
from dermlens.labels import CLASSES
from dermlens.predict.document import read_document
from dermlens.predict.network import OnnxNetwork
from dermlens.predict.pictures.preprocessing import ViewsConfig
from dermlens.predict.predictor import Predictor
from dermlens.recipe import Recipe
from dermlens.runs import Run


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(1)
    rows = [
        {
            "image_id": f"i{n}",
            "lesion_id": f"l{n // 2}",
            "dx": CLASSES[n // 2 % 7],
            "path": str(draw(folder / f"i{n}.png", n, (64, 64))),
            "age": rng.uniform(20, 80),
            "sex": "male",
            "site": "back",
        }
        for n in range(28)
    ]
    return pd.DataFrame(rows)


def test_accepted_or_not_the_folder_is_whole_and_says_why(exported, table, tmp_path, monkeypatch):
    folder = shutil.copytree(exported, tmp_path / "model")
    fp32 = (folder / "model.onnx").read_bytes()
    monkeypatch.setattr("dermlens.export.int8.LARGEST_LOSS", {"mean_recall": -1.0, "sought_recall": -1.0})
    refused = quantise(folder, ranges=table, judged=table, cache_root=tmp_path)
    assert refused.onnx.precision == "fp32"
    assert not refused.onnx.quantisation["accepted"]
    assert (folder / "model.onnx").read_bytes() == fp32
    assert refused == read_document(folder / "model.json")

    monkeypatch.setattr("dermlens.export.int8.LARGEST_LOSS", {"mean_recall": 1.0, "sought_recall": 1.0})
    monkeypatch.setattr("dermlens.export.int8.FEWEST", {"sought": 1, "other": 1})
    accepted = quantise(folder, ranges=table, judged=table, cache_root=tmp_path)
    assert accepted.onnx.precision == "int8"
    assert accepted.onnx.sha256 == sha256(folder / "model.onnx")
    found = accepted.onnx.quantisation
    assert found["bytes_after"] == (folder / "model.onnx").stat().st_size < 0.5 * found["bytes_before"]
    assert found["changed"] < 0.3, "int8 must still be much the same network"

    x_BSSC = np.stack([np.asarray(_pixels(path)) for path in table["path"][:8]])
    meta_BM = np.zeros((8, 14), np.float32)
    before_BC, after_BC = (
        OnnxNetwork(content, "model.onnx")(x_BSSC, meta_BM)[0]
        for content in (fp32, (folder / "model.onnx").read_bytes())
    )
    assert 0 < np.abs(before_BC - after_BC).max() < 0.5 * before_BC.std()
    with pytest.raises(UserError, match="no fp32"):
        quantise(folder, ranges=table, judged=table, cache_root=tmp_path)


def _pixels(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


@pytest.mark.usefixtures("no_export")
def test_a_run_is_exported_and_judged_on_what_it_did_not_train_on(dermlens, tmp_path):
    data = write_synthetic(tmp_path / "data", lesions=56, seed=3, size=(48, 64))
    recipe = Recipe()
    run = Run.create(tmp_path / "run", recipe)
    split = make_split(read_table(data), recipe.split)
    split.save(run.split_file)
    run.end("completed", data=str(data))
    save_tiny(run.path, views=ViewsConfig(symmetries=4, sizes=(32, 64)))
    words = ("--format", "onnx-int8", "--limit", "It has learnt nothing.", "--cache", tmp_path / "cache")
    code, out, _ = dermlens("export", run.path, "--out", tmp_path / "model", *words)
    document = read_document(tmp_path / "model" / "model.json")
    found = document.onnx.quantisation
    assert code == (0 if found["accepted"] else 2)
    assert found["images"] == len(split.ids("selection")) + len(split.ids("calibration"))
    assert document.onnx.limits == ("It has learnt nothing.",)
    assert document.onnx.sha256 == sha256(tmp_path / "model" / "model.onnx")
    output = " ".join(out.split())
    assert f"onnx, {document.onnx.precision}: on " in output
    assert ("mean recall falls by" in output) == found["accepted"]
    assert found["mean_recall"]["lost_at_least"] <= found["mean_recall"]["lost"]
    Predictor.open(tmp_path / "model")
