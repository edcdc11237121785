"""Every row of the table: a new engine is tested by being there."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import dermlens
from dermlens.errors import UserError
from dermlens.export.edge import load_openvino
from dermlens.export.engines import ENGINES
from dermlens.export.onnx_export import as_network
from dermlens.models.saved import SavedModel, load_model
from dermlens.predict.pictures.preprocessing import ViewsConfig

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:jax|tensorflow|flatbuffers")


def row_of(name):
    row = ENGINES[name]
    for module in row.modules:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install 'dermlens[{row.extra}]'")
    return row


SIZE = 64


@pytest.fixture(scope="module")
def saved(exported) -> SavedModel:
    """The exported network at the larger of its sizes."""
    return replace(load_model(exported), size=SIZE, views=ViewsConfig(symmetries=4))


@pytest.fixture(scope="module", params=sorted(ENGINES))
def written(request, saved, exported, tmp_path_factory) -> tuple[str, Path]:
    """Name of an engine, and its file; the ONNX file that some start from is made once."""
    row, folder = row_of(request.param), tmp_path_factory.mktemp(request.param)
    if row.reads_onnx:
        shutil.copyfile(exported / "model.onnx", folder / "model.onnx")
    if request.param == "onnx":
        import onnx
        import torch

        with pytest.MonkeyPatch.context() as patch:
            made = type("Program", (), {"model_proto": onnx.load(exported / "model.onnx")})
            patch.setattr(torch.onnx, "export", lambda *words, **options: made)
            return request.param, row.write(saved, folder)
    return request.param, row.write(saved, folder)


def test_the_files_are_those_of_the_row(written):
    name, path = written
    row = ENGINES[name]
    assert path.name == row.files[0]
    assert {one.name for one in path.parent.iterdir()} - {"model.onnx"} == set(row.files) - {"model.onnx"}


def test_no_file_names_the_folders_of_its_maker(written):
    _, path = written
    for file in path.parent.iterdir():
        assert str(Path(dermlens.__file__).parent).encode() not in file.read_bytes()


@pytest.mark.parametrize("count", [1, 5])
def test_it_is_the_network(written, saved, count):
    name, path = written
    rng = np.random.default_rng(count)
    x_BSSC = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    x_BSSC[::2] //= 3
    meta_BM = rng.normal(size=(count, saved.encoder.width)).astype(np.float32)
    expected_BC, features_BD = as_network(saved)(x_BSSC, meta_BM)
    network = ENGINES[name].load(path)
    first = network(x_BSSC, meta_BM)
    np.testing.assert_allclose(first[0], expected_BC, atol=1e-4)
    np.testing.assert_allclose(first[1], features_BD, rtol=1e-4, atol=1e-3)
    assert np.abs(expected_BC).max() > 0.1
    other = network(255 - x_BSSC, meta_BM)
    assert np.abs(other[0] - first[0]).max() > 1e-3, "it must look at the image"
    np.testing.assert_array_equal(first[0], network(x_BSSC, meta_BM)[0])


@pytest.mark.parametrize("name", sorted(ENGINES))
def test_another_file_is_refused(name, tmp_path):
    path = tmp_path / row_of(name).files[0]
    path.write_bytes(b"not a network")
    with pytest.raises(UserError, match=path.name):
        ENGINES[name].load(path)


@pytest.mark.parametrize("name", ["litert", "torch"])
def test_several_sizes_do_not_go_into_one_file(name, saved, tmp_path):
    several = replace(saved, views=ViewsConfig(sizes=(32, 64)))
    with pytest.raises(UserError, match="one size"):
        ENGINES[name].write(several, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("threads", [None, 1])
def test_openvino_takes_several_sizes(exported, tmp_path, threads):
    """On one thread OpenVINO itself repeats its last answer for a size that it cannot take."""
    row = row_of("openvino")
    saved = load_model(exported)
    shutil.copyfile(exported / "model.onnx", tmp_path / "model.onnx")
    network = load_openvino(row.write(saved, tmp_path), threads)
    for size in (64, 96):
        x_BSSC = np.random.default_rng(size).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
        meta_BM = np.zeros((2, saved.encoder.width), np.float32)
        expected_BC, _ = as_network(saved)(x_BSSC, meta_BM)
        np.testing.assert_allclose(network(x_BSSC, meta_BM)[0], expected_BC, atol=1e-4)
    with pytest.raises(UserError, match="32 pixels"):  # the map is one position
        network(np.zeros((1, 32, 32, 3), np.uint8), meta_BM[:1])


def test_opening_needs_no_torch(loaded):
    opened = "import dermlens.export.edge, dermlens.export.edge"
    assert not loaded(opened, "torch", "pandas")
