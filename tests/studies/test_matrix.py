from __future__ import annotations

import pytest

from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.studies.folds import fold_recipes
from dermlens.studies.matrix import budgeted, epoch_size, load_matrix, parse_matrix, shipped_matrices
from dermlens.training.inputs import read_role_plan

SMALL = """
name: small
recipe: demo
set: {data.size: 48, train.optimizer: {kind: adamw, lr: 1e-3}}
folds: 2
images: 100
baseline: plain
arms:
  focal:
    tests: Whether easy examples matter.
    set: {imbalance.loss: {kind: focal, gamma: 1.5}}
  plain:
    tests: Nothing.
"""


@pytest.mark.parametrize("name", shipped_matrices())
def test_every_arm_of_a_shipped_matrix_is_a_recipe_of_its_own(name):
    matrix = load_matrix(name)
    recipes = {arm: matrix.recipe_of(arm) for arm in matrix.arms}
    assert set(matrix.arms) == set(matrix.names)
    alike = {
        (matrix.arms[arm].peeks, recipe.model_copy(update={"name": "arm"}).dump())
        for arm, recipe in recipes.items()
    }
    assert len(alike) == len(recipes)


def test_the_imbalance_matrix_has_at_least_eight_remedies():
    assert len(load_matrix("imbalance").arms) >= 9


def test_overrides_reach_every_arm_and_an_arm_its_own():
    matrix = parse_matrix(SMALL, "here")
    focal, plain = matrix.recipe_of("focal"), matrix.recipe_of("plain")
    assert matrix.names == ["plain", "focal"]
    assert focal.imbalance.loss.gamma == 1.5
    assert plain.imbalance.loss.kind == "cross_entropy"
    assert {focal.data.size, plain.data.size} == {48}
    assert focal.train.optimizer.lr == 0.001
    assert parse_matrix(matrix.dump(), "again") == matrix


def test_set_on_the_command_line_reaches_the_base(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(SMALL)
    matrix = load_matrix(str(file), ["data.size=64", "train.optimizer.lr=2e-3"])
    assert matrix.recipe_of("focal").data.size == 64
    assert matrix.recipe_of("plain").train.optimizer.lr == 0.002


def test_numbers_are_written_as_people_write_them():
    """YAML 1.1 takes 1e-3 for text, in a matrix and in what `--set` gives it."""
    matrix = parse_matrix(SMALL, "here", ["train.schedule.min_lr=1e-5"])
    assert matrix.set["train.optimizer"]["lr"] == 1e-3
    assert matrix.set["train.schedule.min_lr"] == 1e-5


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.epochs=4", "--set train.epochs=4: train.epochs"),
        ("train.optimizer={lr: 1, lr: 2}", "lr stands on line 1"),
        ("data.size", "section.key=value"),
        ("data.size=[", "--set data.size=[: not YAML"),
    ],
)
def test_a_mistake_in_an_override_is_placed_there(override, sentence):
    with pytest.raises(UserError) as error:
        parse_matrix(SMALL, "here", [override])
    assert sentence in str(error.value)


def test_an_override_of_every_arm_may_set_the_seed():
    assert parse_matrix(SMALL, "here", ["seed=5"]).recipe_of("focal").seed == 5


@pytest.mark.parametrize(
    "sampler",
    ["{kind: images}", "{kind: power, exponent: 0.5}", "{kind: lesions, caps: {nv: 6}, repeats: {df: 2}}"],
)
def test_the_budget_is_met_to_half_an_epoch(sampler, recipe, data):
    """The size of an epoch counted from the table, not from the sampler."""
    [fold, _] = fold_recipes(recipe(f"imbalance.sampler={sampler}"), 2)
    drawn = epoch_size(fold, read_role_plan(fold, data))
    epochs = budgeted(fold, drawn, 400).train.epochs
    table = read_configured(data, fold.data)
    train = table[table["image_id"].isin(resolve_split(table, fold.split).ids("train"))]
    if "lesions" in sampler:
        lesions = train.groupby("dx")["lesion_id"].nunique()
        size = lesions.sum() - lesions["nv"] + min(6, lesions["nv"]) + lesions["df"]
    else:
        size = len(train)
    assert abs(drawn - size) <= 3  # shares of classes are rounded
    assert abs(epochs * drawn - 400) <= drawn / 2


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("baseline: plain", "baseline: plane", "nearest: plain"),
        ("folds: 2", "foldz: 2", ", line 5: foldz"),
        ("folds: 2", "folds: 1", "folds 1"),
        ("folds: 2", "folds: 2\nfolds: 3", ", line 6: folds stands on line 5"),
        ("  plain:\n", "  focal:\n", ", line 12: arms.focal stands on line 9"),
        ("imbalance.loss:", "train.epochs:", "train.epochs"),
        ("imbalance.loss:", "split.seed:", "split.seed"),
        ("imbalance.loss:", "data.also_train:", "data.also_train"),
        ("{imbalance.loss: {kind: focal, gamma: 1.5}}", "{seed: 1}", "seed is"),
        ("imbalance.loss:", "loss:", "section.key"),
        ("data.size: 48", "train.epochs: 4", "train.epochs"),
        ("    tests: Nothing.", "    set: {}", ", line 12: arms.plain.tests"),
        (
            "    tests: Nothing.",
            "    tets: Nothing.",
            ", line 13: arms.plain.tets",
        ),
        ("name: small", "name: [", "not YAML"),
    ],
)
def test_a_mistake_in_a_matrix_is_one_sentence(old, new, sentence):
    assert old in SMALL
    with pytest.raises(UserError) as error:
        parse_matrix(SMALL.replace(old, new), "matrix mine.yaml")
    assert sentence in str(error.value)
    assert str(error.value).startswith(("matrix mine.yaml: ", "matrix mine.yaml, line "))


def test_an_arm_may_be_named_as_a_key_of_arms_is():
    with pytest.raises(UserError, match=r"arms\.set\.tets.*nearest: tests"):
        parse_matrix(SMALL.replace("  focal:\n    tests:", "  set:\n    tets:"), "here")


def test_a_mistake_in_an_arms_recipe_names_the_key():
    matrix = parse_matrix(SMALL.replace("gamma: 1.5", "gama: 1.5"), "here")
    with pytest.raises(UserError, match=r"gama.*nearest: gamma"):
        matrix.recipe_of("focal")


def test_an_unknown_matrix():
    with pytest.raises(UserError, match="nearest: imbalance"):
        load_matrix("imbalanced")
