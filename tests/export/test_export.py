from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from saved_models import SIZE, draw, save_tiny, sha256

from dermlens.data.config import SplitConfig
from dermlens.data.split import make_split
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.export import onnx_export
from dermlens.export.onnx_export import REAL_IMAGES, TOLERANCE, _compare_maps, export_folder, export_onnx
from dermlens.models.saved import load_model
from dermlens.predict.decision import at_prior, scaled
from dermlens.predict.document import read_document
from dermlens.predict.network import OnnxNetwork
from dermlens.predict.picture import Picture
from dermlens.predict.pictures.preprocessing import ViewsConfig, read_square
from dermlens.predict.predictor import Predictor
from dermlens.recipe import parse_recipe
from dermlens.runs import Run
from dermlens.training.predict import logits_table


def test_a_folder_predicts_with_and_without_torch(exported):
    names = {path.name for path in exported.iterdir()}
    assert names == {"model.onnx", "model.json", "model.safetensors"}
    document = read_document(exported / "model.json")
    assert document.onnx.sha256 == sha256(exported / "model.onnx")
    assert document.onnx.precision == "fp32"
    assert 0 < document.onnx.largest_difference < 1e-4
    assert load_model(exported).views == ViewsConfig(symmetries=4, sizes=(32, 64))


def test_one_file_without_anything_beside_it(exported):
    proto = onnx.load(exported / "model.onnx", load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    assert all(not tensor.external_data for tensor in proto.graph.initializer)
    assert str(Path(onnx_export.__file__).parent).encode() not in (exported / "model.onnx").read_bytes()
    assert [entry.name for entry in proto.graph.input] == ["image", "meta"]
    assert [entry.name for entry in proto.graph.output] == [
        "logits",
        "features",
        "probabilities",
        "evidence",
        "attention",
    ]
    image = proto.graph.input[0].type.tensor_type
    assert image.elem_type == onnx.TensorProto.UINT8
    assert [dim.dim_param or dim.dim_value for dim in image.shape.dim][1:] == ["side", "side", 3]


@pytest.mark.parametrize("size", [32, 64, 96])
@pytest.mark.parametrize("count", [1, 5])
def test_it_is_the_network(exported, size, count):
    """In double precision: in single, the network itself errs by about as much as the file may."""
    saved = load_model(exported)
    rng = np.random.default_rng(size)
    x_BSSC = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    meta_BM = rng.normal(size=(count, saved.encoder.width)).astype(np.float32)
    with torch.inference_mode():
        expected_BC, found = saved.model.double()(
            torch.from_numpy(x_BSSC).permute(0, 3, 1, 2).double(), torch.from_numpy(meta_BM).double()
        )
    network = OnnxNetwork((exported / "model.onnx").read_bytes(), "model.onnx")
    logits_BC, features_BD = network(x_BSSC, meta_BM)
    promised = TOLERANCE * max(1.0, float(expected_BC.abs().max()) / 10)
    np.testing.assert_allclose(logits_BC, expected_BC.numpy(), rtol=0, atol=promised)
    np.testing.assert_allclose(features_BD, found["features_BD"].numpy(), rtol=1e-4, atol=1e-3)
    assert np.abs(logits_BC).max() > 0.1


MADE_OF = ("probabilities", "features", "evidence", "attention")


@pytest.mark.parametrize("name", MADE_OF)
def test_whatever_an_answer_is_made_of_is_compared(name):
    expected = {one: np.ones((2, 3), np.float32) for one in MADE_OF}
    _compare_maps(expected, expected)
    with pytest.raises(RuntimeError, match=rf"{name}.*off"):
        _compare_maps(expected, expected | {name: expected[name] + 1e-3})


def test_it_gives_probabilities_and_maps_too(exported):
    saved = load_model(exported)
    rng = np.random.default_rng(1)
    x_BSSC = rng.integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)
    meta_BM = rng.normal(size=(3, saved.encoder.width)).astype(np.float32)
    network = OnnxNetwork((exported / "model.onnx").read_bytes(), "model.onnx")
    found = network.run(x_BSSC, meta_BM, network.outputs)
    decision = saved.decision
    expected_BC = np.exp(at_prior(scaled(found["logits"], decision.scaling), decision.prior))
    np.testing.assert_allclose(found["probabilities"], expected_BC, atol=1e-6)
    np.testing.assert_allclose(found["attention"].sum(axis=(2, 3)), 1, atol=1e-5)
    head = saved.model.head
    with torch.inference_mode():
        told_BC = head.branch(torch.from_numpy(meta_BM)) @ head.linear.weight[:, -head.branch.width :].T
        rest_BC = (told_BC + head.linear.bias).numpy()
    np.testing.assert_allclose(found["evidence"].sum(axis=(2, 3)) + rest_BC, found["logits"], atol=1e-4)
    assert np.ptp(found["evidence"]) > 1e-3


def test_views_are_averaged_alike_with_torch_and_with_onnx(exported, tmp_path):
    """64-pixel PNGs at 64 pixels are neither cropped nor resized: only the networks differ."""
    files = [draw(tmp_path / f"{name}.png", seed, (64, 64)) for seed, name in enumerate("abc")]
    table = pd.DataFrame(
        {
            "image_id": ["a", "b", "c"],
            "path": list(map(str, files)),
            "age": [20.0, np.nan, 80.0],
            "sex": ["male", "female", "unknown"],
            "site": ["back", "unknown", "face"],
        }
    )
    saved, opened = load_model(exported), Predictor.open(exported)
    meta_NM = saved.encoder.encode(table["age"], table["sex"], table["site"])
    seen = []
    for views in (ViewsConfig(sizes=(64,)), ViewsConfig(symmetries=8, sizes=(64,))):
        by_torch = logits_table(replace(saved, views=views), table, cache_root=tmp_path, device="cpu")
        network = OnnxNetwork((exported / "model.onnx").read_bytes(), "model.onnx")
        predictor = Predictor(opened.document.model_copy(update={"views": views}), network, {})
        by_onnx = [
            predictor.outputs([Picture(file)], meta_NM[row : row + 1])[0][0] for row, file in enumerate(files)
        ]
        np.testing.assert_allclose(by_onnx, by_torch.logits_NC, atol=1e-4)
        seen.append(by_torch.logits_NC)
    assert np.abs(seen[0] - seen[1]).max() > 1e-3, "the views must matter for this to show anything"


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"pool": "flatten", "attention": "none", "metadata": "none", "cut": "paper"}, ()),
        ({"metadata": "metablock", "gamma": True}, (64,)),
        ({"backbone": "efficientnet_lite0", "metadata": "gessert", "form": "library"}, (96,)),
    ],
    ids=["flatten", "metablock", "lite0"],
)
def test_other_members_of_the_family(tmp_path, settings, sizes):
    saved = save_tiny(tmp_path, decided=False, views=ViewsConfig(sizes=sizes), **settings)
    assert export_onnx(saved, tmp_path / "model.onnx") < 1e-4


@pytest.mark.usefixtures("no_export")
def test_training_images_are_compared_where_they_are_at_hand(tmp_path, monkeypatch):
    data = write_synthetic(tmp_path / "data", lesions=80, seed=0, size=(48, 64))
    run = Run.create(tmp_path / "run", parse_recipe("name: a", "here"))
    save_tiny(run.path, views=ViewsConfig(symmetries=4, sizes=(32, 64)))
    split = make_split(read_table(data), SplitConfig())
    split.save(run.split_file)
    run.end("completed", data=str(data))
    seen = []

    def watched(path, *settings):
        seen.append(path.stem)
        return read_square(path, *settings)

    monkeypatch.setattr("dermlens.export.onnx_export.read_square", watched)
    export_folder(run.path, tmp_path / "out")
    assert len(set(seen)) == REAL_IMAGES
    assert set(seen) <= set(split.ids("train"))
    assert len(seen) == 2 * REAL_IMAGES  # at both sizes
    seen.clear()
    data.rename(tmp_path / "elsewhere")
    export_folder(run.path, tmp_path / "out")
    assert not seen


@pytest.mark.usefixtures("no_export")
def test_sizes_that_pad_otherwise_are_refused(exported, tmp_path):
    saved = replace(load_model(exported), views=ViewsConfig(sizes=(32, 72)))
    with pytest.raises(UserError, match="32 and 72"):
        export_onnx(saved, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_export")
def test_an_export_that_is_not_the_network_is_our_mistake(exported, tmp_path):
    saved = load_model(exported)
    export_onnx(saved, tmp_path / "model.onnx")
    with torch.no_grad():
        saved.model.head.linear.bias[3] += 0.001
    with pytest.raises(RuntimeError, match=r"logits.*0\.001"):
        export_onnx(saved, tmp_path / "other.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_document_from_before_there_were_views_reads(exported, tmp_path):
    document = json.loads((exported / "model.json").read_text())
    del document["views"], document["onnx"]
    (tmp_path / "model.json").write_text(json.dumps(document | {"manifest": None}))
    read = read_document(tmp_path / "model.json")
    assert (read.views, read.onnx, read.size) == (ViewsConfig(), None, SIZE)
