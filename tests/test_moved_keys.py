"""Keys of the paper stood in other sections: stored ones are read, those written now are refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from command import exit_code

from dermlens.errors import UserError
from dermlens.models.config import NetworkConfig
from dermlens.recipe import load_recipe, parse_recipe
from dermlens.runs import Run
from dermlens.studies.ablation import read_record
from dermlens.studies.matrix import load_matrix, parse_matrix
from dermlens.training.checkpoints import check_unchanged

FIXTURES = Path(__file__).parent / "fixtures"
RESULTS = Path(__file__).parents[1] / "docs" / "results"
STORED = FIXTURES / "recipe_before_paper.yaml"
"""What a run of the version before wrote down, every key of the paper set."""

MOVED = [
    ("augment.offline_plan=true", "paper.offline_plan"),
    ("split.siblings=withheld", "paper.siblings"),
    ("data.metadata_shuffled=true", "paper.metadata_shuffled"),
    ("imbalance.weights_from=all", "paper.weights_from"),
    ("model.normalization=half", "paper.normalization"),
    ("model.channel_order=bgr", "paper.channel_order"),
    ("model.attention=uniform", "paper.placebo"),
    ("model.attention=frozen", "paper.placebo"),
]


def test_a_stored_recipe_is_read_as_it_was_meant(tmp_path):
    before = yaml.safe_load(STORED.read_text(encoding="utf-8"))
    run = Run(tmp_path)
    shutil.copyfile(STORED, run.recipe_file)
    now = run.recipe.model_dump(mode="json")
    assert now["paper"] == {
        "offline_plan": before["augment"].pop("offline_plan"),
        "siblings": before["split"].pop("siblings"),
        "metadata_shuffled": before["data"].pop("metadata_shuffled"),
        "weights_from": before["imbalance"].pop("weights_from"),
        "placebo": before["model"].pop("attention"),
        "normalization": before["model"].pop("normalization"),
        "channel_order": before["model"].pop("channel_order"),
    }
    assert now["model"].pop("attention") == "corrected"
    assert now["paper"]["placebo"] == "frozen"
    del now["paper"]
    assert now == before
    assert parse_recipe(run.recipe.dump(), "again") == run.recipe


def test_a_stored_recipe_takes_settings_and_can_be_extended(tmp_path):
    assert load_recipe(str(STORED), ["paper.siblings=withheld", "seed=3"]).paper.siblings == "withheld"
    child = tmp_path / "child.yaml"
    child.write_text(f"extends: {STORED}\npaper: {{placebo: null}}", encoding="utf-8")
    found = load_recipe(str(child))
    assert (found.paper.placebo, found.paper.channel_order, found.model.attention) == (
        None,
        "bgr",
        "corrected",
    )


def test_a_run_goes_on_with_what_it_began_with(tmp_path):
    run = Run(tmp_path)
    began = {
        "recipe": yaml.safe_load(STORED.read_text(encoding="utf-8")),
        "split": "",
        "labels": "",
        "pixels": "",
    }
    run.record(began_with=began)
    recipe = load_recipe(str(STORED))
    check_unchanged(run, began | {"recipe": recipe.model_dump(mode="json")})
    other = load_recipe(str(STORED), ["paper.channel_order=rgb"])
    with pytest.raises(UserError, match=r"\(paper\.channel_order\)"):
        check_unchanged(run, began | {"recipe": other.model_dump(mode="json")})


@pytest.mark.parametrize(("setting", "now"), MOVED, ids=lambda words: words)
def test_an_old_key_in_a_recipe_or_a_setting_names_the_new_one(setting, now, tmp_path, capsys):
    old, _, value = setting.partition("=")
    section, _, key = old.partition(".")
    recipe = tmp_path / "own.yaml"
    recipe.write_text(f"name: own\n{section}:\n  {key}: {value}\n", encoding="utf-8")
    for words in ((recipe,), ("demo", "--set", setting), (STORED, "--set", setting)):
        assert exit_code("train", *words, "--data", tmp_path, "--out", tmp_path / "run") == 2
        sentence = capsys.readouterr().err
        assert {old, now} <= set(sentence.replace(":", " ").split())
        assert ("line 3" if len(words) == 1 else "--set") in sentence
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("setting", "now"), MOVED, ids=lambda words: words)
def test_an_old_key_in_a_matrix_names_the_new_one(setting, now):
    old, _, value = setting.partition("=")
    arms = f"{{a: {{tests: x}}, b: {{tests: y, set: {{{old}: {value}}}}}}}"
    with pytest.raises(UserError) as caught:
        parse_matrix(f"name: m\nrecipe: demo\nimages: 9\nbaseline: a\narms: {arms}", "here")
    assert old in str(caught.value)
    assert now in str(caught.value)
    with pytest.raises(UserError, match=now):
        load_matrix("parts", [setting])


@pytest.mark.parametrize("name", ["leak", "questions"])
def test_published_matrices_are_those_that_ship(name):
    """But for the start, which was a file of one machine, and a key that has come since."""
    stored = json.loads((RESULTS / "paper" / name / "ablation.json").read_text(encoding="utf-8"))["matrix"]
    assert any(key.startswith("model.normalization") for key in stored["set"])
    shipped = load_matrix(f"paper_{name}").model_dump(mode="json")
    read = read_record(RESULTS / "paper" / name)["matrix"]
    since = {"model.weights": None, "model.conventions": None}
    assert read["set"] | since == shipped["set"] | since
    assert {arm: one["set"] for arm, one in read["arms"].items()} == {
        arm: one["set"] for arm, one in shipped["arms"].items()
    }


@pytest.mark.parametrize("kind", ["uniform", "frozen"])
def test_a_stored_network_of_a_placebo_is_that_network(kind):
    stored = {"attention": kind, "channel_order": "bgr", "normalization": "half", "pool": "gap"}
    found = NetworkConfig.model_validate(stored)
    recipe = parse_recipe(
        f"model: {{pool: gap}}\npaper: {{placebo: {kind}, channel_order: bgr, normalization: half}}", "r"
    )
    assert found == recipe.network
    assert found.kernel == kind
