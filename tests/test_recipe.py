from __future__ import annotations

import hashlib
import json
from pathlib import Path

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


WHOLE = json.loads((Path(__file__).parent / "fixtures" / "recipe_digests.json").read_text(encoding="utf-8"))
"""Digest of each resolved recipe from when its file stated every key and took nothing over."""

SINCE = (
    "data.reader",
    "augment.plugins",
    "evaluation.metrics",
    "model.backbone_settings",
    "model.metadata_settings",
    "train.drop_block",
    "train.task",
)
"""Keys that have come since, at their defaults in all of them."""

THEN = (
    ("augment", "offline_plan"),
    ("split", "siblings"),
    ("data", "metadata_shuffled"),
    ("imbalance", "weights_from"),
    ("model", "normalization"),
    ("model", "channel_order"),
)
"""Where the keys of section `paper` stood then."""


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name in WHOLE])
def test_a_recipe_that_extends_another_resolves_to_what_it_was_when_it_stated_all(name):
    resolved = load_recipe(name).model_dump(mode="json")
    paper = resolved.pop("paper")
    assert paper.pop("placebo") is None
    for section, key in THEN:
        value = paper.pop(key)
        if resolved[section] is not None:
            resolved[section][key] = value
    assert not paper
    for section, _, key in (one.partition(".") for one in SINCE):
        assert resolved[section] is None or not resolved[section].pop(key)
    text = json.dumps(resolved, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == WHOLE[name]


def write(folder, **recipes):
    for name, text in recipes.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return str(folder / f"{next(iter(recipes))}.yaml")


def test_what_is_extended_is_merged_key_by_key_and_a_section_of_another_kind_replaced(tmp_path):
    own = "train: {epochs: 7}\nimbalance: {loss: {kind: focal}}\naugment: null"
    child = write(tmp_path, child=f"extends: below/parent.yaml\n{own}")
    (tmp_path / "below").mkdir()
    write(
        tmp_path / "below",
        parent="extends: aunt.yaml\ntrain: {batch_size: 8}\n"
        "imbalance: {loss: {kind: cross_entropy, smoothing: 0.1}}",
        aunt="extends: demo\ntrain: {epochs: 3}",
    )
    recipe = load_recipe(child, ["train.optimizer.lr=0.5"])
    assert (recipe.train.epochs, recipe.train.batch_size, recipe.train.optimizer.lr) == (7, 8, 0.5)
    assert recipe.imbalance.loss.model_dump() == {"kind": "focal", "gamma": 2.0}
    assert recipe.augment is None
    assert recipe.name == load_recipe("demo").name
    assert "extends" not in recipe.dump()


@pytest.mark.parametrize(
    ("recipes", "words"),
    [
        ({"a": "seed: 1\nextends: b.yaml", "b": "extends: a.yaml"}, ["b.yaml, line 1: extends a.yaml", "→"]),
        ({"a": "extends: a.yaml"}, ["a.yaml, line 1: extends a.yaml"]),
        ({"a": "\nextends: demmo"}, ["a.yaml, line 2: extends demmo", "nearest: demo"]),
        ({"a": "extends: [demo]"}, ["a.yaml, line 1: extends ['demo']"]),
        (
            {"a": "extends: b.yaml", "b": "seed: 1\ntrain: {epoks: 2}"},
            ["a.yaml", "b.yaml, line 2: train.epoks"],
        ),
        ({"a": "extends: b.yaml\nmodel: {gama: true}", "b": "seed: 1"}, ["a.yaml, line 2: model.gama"]),
        ({"a": "extends: b.yaml", "b": ""}, ["b.yaml is empty"]),
    ],
)
def test_a_mistake_in_what_is_extended_names_file_and_key(recipes, words, tmp_path):
    with pytest.raises(UserError) as caught:
        load_recipe(write(tmp_path, **recipes))
    for word in words:
        assert word in str(caught.value)


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
        ("", ["recipe r is empty", "mapping of sections"]),
        ("# a head\n", ["recipe r is empty", "mapping of sections"]),
        ("train:\n  epochs: 3\n  batch_size: 8\n  epochs: 4", ["line 4", "train.epochs stands on line 2"]),
        ("seed: 1\nmodel: {}\nseed: 2", ["recipe r, line 3", "seed stands on line 1"]),
        ("data:\n  labels: {0: mel}", ["line 2", "data.labels.0"]),
        ("train: {epochs: '3'}", ["train.epochs '3'", "integer"]),
        ("train: {epochs: 64.0}", ["train.epochs 64.0", "integer"]),
        ("train: {optimizer: {lr: '1e-3'}}", ["train.optimizer.lr '1e-3'", "number"]),
        ("train: {optimizer: {lr: .inf}}", ["train.optimizer.lr inf", "finite"]),
        ("evaluation: {level: .nan}", ["evaluation.level nan", "finite"]),
        ("model: {gamma: 1}", ["model.gamma 1", "boolean"]),
        ("imbalance: {weights: {mel: .inf}}", ["imbalance.weights"]),
        ("imbalance: {weights: {mel: 0}}", ["imbalance.weights"]),
        ("data: {classes: [mel, nv, mel]}", ["data.classes", "class mel"]),
        ("data: {classes: [mel, ' ']}", ["data.classes", "a class without a name"]),
        ("data: {classes: [mel, '=a']}", ["data.classes", "class '=a'"]),
        ("data: {classes: [mel, 'a|b']}", ["data.classes", "class 'a|b'"]),
        ('data: {classes: [mel, "a\\nb"]}', ["data.classes", "class 'a\\nb'"]),
        ("model: {heads: 100000}", ["model.heads 100000", "less than or equal to 1024"]),
        ("name: ../x", ["line 1", "name '../x'", "it names a folder"]),
        ("name: .x", ["name '.x'", "no dot in front"]),
        ("name: ''", ["name ''", "it names a folder"]),
        (
            "train: {schedule: {kind: plateau, min_lr: 0.1}}",
            ["schedule.min_lr 0.1", "optimizer.lr 0.001"],
        ),
        (
            "train: {epochs: 2, schedule: {kind: cosine, warmup_epochs: 2.5}}",
            ["schedule.warmup_epochs 2.5", "epochs 2"],
        ),
        ("train: {optimizer: {kind: sgd, weight_decay: 0.1}}", ["weight_decay", "adamw", "sgd"]),
        ("train: {optimizer: {momentum: 0.5}}", ["momentum", "sgd", "adamw"]),
        (
            "train:\n  resize:\n  - until: 1\n    size: 64\n  - until: 2\n    sise: 32",
            ["line 6", "train.resize.1.sise", "nearest: size"],
        ),
        ("train:\n  resize:\n  - {until: 1}", ["line 3", "train.resize.0.size"]),
        ("train:\n  resize:\n  - until: 1\n    size: 3", ["line 4", "train.resize.0.size 3", "equal to 32"]),
        (
            "imbalance:\n  loss: {gamma: 2}",
            ["line 2", "imbalance.loss.kind", "cross_entropy, focal"],
        ),
        ("imbalance: {loss: {kind: focl}}", ["imbalance.loss.kind 'focl'", "nearest: focal"]),
        ("augment: {policy: {magnitude: 1}}", ["known: rand, trivial"]),
        ("imbalance: {sampler: {kind: nope}}", ["imbalance.sampler.kind 'nope'", "images, power, lesions"]),
        ("augment: {mix: {alpha: 1}}", ["augment.mix.kind"]),
        (
            "data: {size: 64}\ntrain: {resize: [{until: 1, size: 32}]}",
            ["train.resize to 32", "data.size 64", "model.pool"],
        ),
        (
            "evaluation: {views: {sizes: [64]}}",
            ["model.pool"],
        ),
        ("augment: null\npaper: {offline_plan: true}", ["paper.offline_plan", "augment"]),
        (
            "data: {metadata: none}\nmodel: {metadata: none}\npaper: {metadata_shuffled: true}",
            ["paper.metadata_shuffled", "data.metadata"],
        ),
        ("model: {attention: none}\npaper: {placebo: frozen}", ["paper.placebo", "model.attention"]),
        (
            "split: {left_out: rosendahl}\npaper: {siblings: withheld}",
            ["split.left_out", "paper.siblings"],
        ),
        ("split: {final: true}\npaper: {siblings: withheld}", ["split.final", "paper.siblings"]),
        ("a: &a {b: *a}", ["anchor"]),
        ("a: [1", ["not YAML"]),
    ],
)
def test_a_mistake_is_one_sentence_with_place_and_remedy(text, words):
    with pytest.raises(UserError) as caught:
        parse_recipe(text, "recipe r")
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "Undefined" not in sentence
    for word in words:
        assert word in sentence


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train..epochs=3", "train.epochs=[1"])
def test_a_malformed_override_is_named(override):
    with pytest.raises(UserError, match="--set"):
        parse_recipe("{}", "r", [override])


def test_a_mistake_in_an_override_is_placed_there():
    with pytest.raises(UserError, match=r"--set train\.epoks=3.*nearest: epochs"):
        parse_recipe("{}", "r", ["train.epoks=3"])


def test_a_mistake_in_an_override_is_not_placed_where_it_overrode():
    with pytest.raises(UserError, match=r"r, --set train\.optimizer=\{lr: -1\}: train\.optimizer\.lr -1"):
        parse_recipe("train:\n  optimizer:\n    lr: 1", "r", ["train.optimizer={lr: -1}"])


def test_resizing_suits_a_network_that_averages_its_map_and_a_size_that_is_its_own():
    resize = "data: {size: 64}\ntrain: {resize: [{until: 1, size: 32}]}"
    assert parse_recipe(resize + "\nmodel: {pool: gap}", "r").train.resize[0].size == 32
    assert parse_recipe(resize.replace("32", "64"), "r").train.resize[0].size == 64


def test_an_unknown_name_is_answered_with_near_ones():
    with pytest.raises(UserError, match="nearest: paper/densenet201"):
        load_recipe("paper/densenet121")


def test_numbers_are_written_as_people_write_them():
    """YAML 1.1 takes 1e-3 for text and 2024-01-01 for a date; an integer will do for a number."""
    recipe = parse_recipe("name: 2024-01-01\ntrain: {optimizer: {lr: 1e-3}}", "r", ["model.dropout=0"])
    assert (recipe.name, recipe.train.optimizer.lr, recipe.model.dropout) == ("2024-01-01", 1e-3, 0.0)
    assert parse_recipe("data: {classes: [a, b]}", "r").data.classes == ("a", "b")
    assert parse_recipe("imbalance: {weights: {mel: 5}}", "r").imbalance.weights == {"mel": 5.0}


def test_an_empty_mapping_is_all_defaults():
    assert parse_recipe("{}", "r") == Recipe()


def test_keys_that_stand_twice_in_an_override_are_refused():
    with pytest.raises(UserError, match=r"--set train=.*epochs.*line 1"):
        parse_recipe("{}", "r", ["train={epochs: 1, epochs: 2}"])


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"name: \xff\xfe")
    with pytest.raises(UserError, match=rf"{path}.*UTF-8.*byte 6"):
        load_recipe(str(path))


def test_key_of_a_sibling_in_a_union_is_refused_with_its_own_keys():
    with pytest.raises(UserError, match=r"policy\.magnitude.*kind"):
        parse_recipe("augment: {policy: {kind: trivial, magnitude: 3}}", "here")
