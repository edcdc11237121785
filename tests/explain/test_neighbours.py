"""The nearest training cases, and what is said where there are none."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dermlens.data.config import SplitConfig
from dermlens.data.split import make_split
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.explain import neighbours
from dermlens.explain.neighbours import Embedded, nearest_cases, training_cases
from dermlens.explain.network import outputs
from dermlens.predict.pictures.preprocessing import read_square
from dermlens.recipe import Recipe
from dermlens.runs import Run

from .conftest import SIDE, patient

CODES = ("mel", "nv", "bcc")


def write_data(folder: Path) -> Path:
    """Thirty images of three classes."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for number in range(30):
        pixels = rng.integers(0, 255, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((SIDE, SIDE)).save(folder / f"i{number:02}.png")
        dx = CODES[number % 3]
        rows.append(
            {"image_id": f"i{number:02}", "lesion_id": f"l{number:02}", "dx": dx, "age": 40, "sex": "male"}
        )
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder


def write_run(folder: Path, model: Path, data: Path) -> Run:
    shutil.copytree(model, folder)
    recipe = Recipe()
    recipe.save(folder / "recipe.yaml")
    config = SplitConfig(selection=0.2, calibration=0, test=0.2)
    make_split(read_configured(data, recipe.data), config).save(folder / "split.csv")
    run = Run(folder)
    run.record(status="completed", data=str(data))
    return run


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "data")


@pytest.fixture
def run(tmp_path, folders, data):
    return write_run(tmp_path / "run", folders("gap"), data)


def test_distances_are_those_of_unit_vectors_class_by_class():
    features_ND = np.array([[1, 0], [0, 1], [-1, 0], [0.6, 0.8]], dtype=np.float16)
    embedded = Embedded(np.array(["a", "b", "c", "d"]), np.array(["x", "x", "y", "x"]), features_ND)
    found = nearest_cases(embedded, np.array([5.0, 0.0]), 2)
    assert [(case.dx, case.image_id) for case in found] == [("x", "a"), ("x", "d"), ("y", "c")]
    assert [case.distance for case in found] == pytest.approx([0, np.sqrt(0.8), 2], abs=1e-3)


def test_a_training_image_is_nearest_to_itself_and_no_test_image_is_shown(
    run, tiny, data, tmp_path, monkeypatch
):
    output: list[str] = []
    embedded, paths, why_not = training_cases(
        run, tiny("gap"), data, cache=tmp_path / "kept", say=output.append
    )
    split = pd.read_csv(run.split_file, comment="#").set_index("image_id")["role"]
    assert set(embedded.image_id) == set(split.index[split == "train"])
    assert why_not == ""
    assert "once" in output[0]
    own = str(embedded.image_id[0])
    pixels = read_square(paths[own], SIDE, "center")
    _, features_BD = outputs(tiny("gap"), pixels[None], patient(tiny("gap")))
    cases = nearest_cases(embedded, features_BD[0], 3)
    nearest = min(cases, key=lambda case: case.distance)
    assert nearest.image_id == own
    assert nearest.distance < 2e-3
    monkeypatch.setattr(neighbours, "embed", None)  # the second time nothing is looked at
    again, paths, _ = training_cases(run, tiny("gap"), None, cache=tmp_path / "kept")
    np.testing.assert_array_equal(again.features_ND, embedded.features_ND)
    assert paths == {}


def test_without_a_split_or_the_images_a_sentence_says_so(run, tiny, folders, tmp_path):
    none, _, why_not = training_cases(Run(folders("gap")), tiny("gap"), None)
    assert none is None
    assert "gap has no split" in why_not
    run.record(data=str(tmp_path / "gone"))
    none, _, why_not = training_cases(run, tiny("gap"), None, cache=tmp_path / "kept")
    assert none is None
    assert "--data" in why_not


def test_the_data_of_another_run_are_refused(run, tiny, tmp_path):
    (tmp_path / "else").mkdir()
    other = write_data(tmp_path / "else" / "data")
    table = pd.read_csv(other / "table.csv")
    table.assign(dx="nv").to_csv(other / "table.csv", index=False)
    with pytest.raises(UserError, match="--data"):
        training_cases(run, tiny("gap"), other, cache=tmp_path / "kept")
