"""`dermlens start`: a recipe that loads and reads the data, or none."""

from __future__ import annotations

import shutil

import pytest

from dermlens.data.config import SplitConfig
from dermlens.data.split import resolve_split
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.data.table import read_configured_set
from dermlens.recipe import load_recipe


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("start") / "set", lesions=112, size=(64, 64))


def test_a_recipe_that_loads_and_the_next_commands(dermlens, drawn, tmp_path):
    out = tmp_path / "recipe.yaml"
    code, output, err = dermlens("start", "--data", drawn, "--out", out)
    assert (code, err) == (0, "")
    for verb in ("train", "calibrate", "evaluate", "report"):
        assert f"dermlens {verb}" in output
    recipe = load_recipe(str(out))
    assert recipe.split == SplitConfig(protocol="grouped")
    assert recipe.model.metadata == "gessert"
    read = read_configured_set(drawn, recipe.data)
    assert {"train", "selection", "calibration", "test"} <= set(
        resolve_split(read.table, recipe.split, read.roles).roles["role"]
    )
    before = out.read_bytes()
    code, _, err = dermlens("start", "--data", drawn, "--out", out)
    assert (code, out.read_bytes()) == (2, before)
    assert str(out) in err


def test_own_words_travel_into_the_recipe(dermlens, drawn, tmp_path):
    folder, out = tmp_path / "my clinic", tmp_path / "recipe.yaml"
    folder.symlink_to(drawn)
    words = ("--label", "Naevus=nv", "--label", "Melanom=mel", "--classes", "Naevus,Melanom")
    skipped = [word for code in ("akiec", "bcc", "bkl", "df", "vasc") for word in ("--skip", code)]
    code, output, _ = dermlens("start", "--data", folder, "--out", out, *words, *skipped)
    assert code == 0
    assert f"--data '{folder}'" in output
    recipe = load_recipe(str(out))
    assert recipe.data.classes == ("Naevus", "Melanom")
    assert set(read_configured_set(folder, recipe.data).table["dx"]) == {"Naevus", "Melanom"}


def test_data_with_problems_get_no_recipe(dermlens, drawn, tmp_path):
    bad = shutil.copytree(drawn, tmp_path / "set")
    next(bad.rglob("*.jpg")).write_bytes(b"no picture")
    code, output, _ = dermlens("start", "--data", bad, "--out", tmp_path / "recipe.yaml")
    assert code == 2
    assert "problems: 1" in output
    assert not (tmp_path / "recipe.yaml").exists()
