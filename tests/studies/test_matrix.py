from __future__ import annotations

import pytest

from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.studies.folds import fold_recipes
from dermlens.studies.matrix import budgeted, epoch_size, load_matrix, parse_matrix, shipped_matrices
from dermlens.training.inputs import read_sorted

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
    alike = {recipe.model_copy(update={"name": "arm"}).dump() for recipe in recipes.values()}
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


@pytest.mark.parametrize(
    "sampler",
    ["{kind: images}", "{kind: power, exponent: 0.5}", "{kind: lesions, caps: {nv: 6}, repeats: {df: 2}}"],
)
def test_the_budget_is_met_to_half_an_epoch(sampler, recipe, data):
    """The size of an epoch counted from the table, not from the sampler."""
    [fold, _] = fold_recipes(recipe(f"imbalance.sampler={sampler}"), 2)
    drawn = epoch_size(fold, read_sorted(fold, data))
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
        ("baseline: plain", "baseline: plane", "baseline plane is not an arm; nearest: plain"),
        ("folds: 2", "foldz: 2", "foldz is not a key of a matrix; nearest: folds"),
        ("folds: 2", "folds: 1", "folds: Input should be greater than or equal to 2"),
        ("imbalance.loss:", "train.epochs:", "train.epochs is the same for all arms"),
        ("imbalance.loss:", "split.seed:", "split.seed is the same for all arms"),
        ("imbalance.loss:", "loss:", "loss: write it as section.key"),
        ("data.size: 48", "train.epochs: 4", "train.epochs follows from name, folds and images"),
        ("    tests: Nothing.", "    set: {}", "arms.plain.tests: Field required"),
        ("name: small", "name: [", "not YAML"),
    ],
)
def test_a_mistake_in_a_matrix_is_one_sentence(old, new, sentence):
    assert old in SMALL
    with pytest.raises(UserError) as error:
        parse_matrix(SMALL.replace(old, new), "matrix mine.yaml")
    assert sentence in str(error.value)
    assert str(error.value).startswith("matrix mine.yaml: ")


def test_a_mistake_in_an_arms_recipe_names_the_key():
    matrix = parse_matrix(SMALL.replace("gamma: 1.5", "gama: 1.5"), "here")
    with pytest.raises(UserError, match="gama is not a key of a recipe; nearest: gamma"):
        matrix.recipe_of("focal")


def test_an_unknown_matrix():
    with pytest.raises(UserError, match="neither a file nor one of ours; nearest: imbalance"):
        load_matrix("imbalanced")
