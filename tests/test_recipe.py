from __future__ import annotations

import pytest
import yaml

from dermlens.errors import UserError
from dermlens.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_loads_and_states_what_to_expect(name):
    recipe = load_recipe(name)
    head = [line for line in shipped_recipes()[name].splitlines() if line.startswith("#")]
    assert len(head) >= 3, "a recipe's head says what it is, what to expect and the command"
    assert parse_recipe(recipe.dump(), "again") == recipe


def test_dump_writes_defaults_out():
    dumped = yaml.safe_load(Recipe().dump())
    assert dumped["train"]["optimizer"]["lr"] == 1e-3
    assert dumped["split"]["protocol"] == "grouped"


def test_overrides_are_read_as_yaml_and_win():
    recipe = parse_recipe("train: {epochs: 3}", "r", ["train.epochs=7", "augment=null", "model.gamma=true"])
    assert (recipe.train.epochs, recipe.augment, recipe.model.gamma) == (7, None, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nmodel:\n  bakbone: 3", ["recipe r, line 3", "model.bakbone", "nearest: backbone"]),
        ("name: x\n\nmodle: {}", ["recipe r, line 3", "modle", "nearest: model"]),
        ("model:\n  backbone: mobilenetv3", ["line 2", "model.backbone 'mobilenetv3'", "mobilenet_v3_small"]),
        ("imbalance:\n  loss: {kind: focal, gama: 1}", ["line 2", "imbalance.loss.gama", "nearest: gamma"]),
        ("train:\n  epochs: many", ["line 2", "train.epochs 'many'", "integer"]),
        ("train:\n  epochs: -1", ["line 2", "train.epochs -1", "greater than 0"]),
        ("split:\n  folds: 3\n  fold: 3", ["line 1", "split", "folds count from 0"]),
        ("- a list", ["mapping of sections"]),
        ("a: [1", ["not YAML"]),
    ],
)
def test_a_mistake_is_one_sentence_with_place_and_remedy(text, words):
    with pytest.raises(UserError) as caught:
        parse_recipe(text, "recipe r")
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train..epochs=3", "train.epochs=[1"])
def test_a_malformed_override_is_named(override):
    with pytest.raises(UserError, match="--set"):
        parse_recipe("{}", "r", [override])


def test_a_mistake_in_an_override_is_placed_there():
    with pytest.raises(UserError, match=r"--set train\.epoks=3.*nearest: epochs"):
        parse_recipe("{}", "r", ["train.epoks=3"])


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(UserError, match="nearest: paper/densenet201"):
        load_recipe("paper/densenet121")
