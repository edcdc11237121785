from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from dermlens.data.manifest import Split
from dermlens.data.predictions import write_predictions
from dermlens.errors import UserError
from dermlens.evaluation.comparison import compare_runs
from dermlens.evaluation.score import score
from dermlens.labels import CLASSES
from dermlens.recipe import Recipe
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig

RECIPE = Recipe(evaluation=EvaluationConfig(bootstrap=100))


@pytest.fixture
def make_run(tmp_path):
    def make(name, predictions, protocol=None):
        run = Run.create(tmp_path / name, RECIPE)
        write_predictions(run.predictions_file, predictions)
        if protocol is not None:
            ids = predictions[["image_id", "lesion_id", "role"]]
            Split(ids, {"protocol": protocol}).save(run.split_file)
        run.end("completed")
        return run

    return make


@pytest.fixture
def base(make_predictions):
    return make_predictions(280, "selection", seed=1, per_lesion=2)


def noisier(predictions, seed=9):
    """The same images by a worse model."""
    columns = [f"p_{code}" for code in CLASSES]
    p_NC = predictions[columns].to_numpy() + np.random.default_rng(seed).dirichlet(
        np.ones(7), len(predictions)
    )
    return predictions.assign(**dict(zip(columns, (p_NC / 2).T, strict=True)))


def test_difference_is_the_difference_and_a_run_equals_itself(make_run, base):
    runs = [make_run("good", base), make_run("same", base), make_run("worse", noisier(base))]
    compared = compare_runs(runs).roles["selection"]
    assert compared.images == 280
    assert compared.lesions == 140
    for place, value in compared.values["worse"].items():
        first, difference = compared.values["good"][place], compared.differences["worse"][place]
        assert difference["value"] == pytest.approx(value["value"] - first["value"])
    nothing = {"value": 0, "low": None, "high": None}
    assert all(entry == nothing for entry in compared.differences["same"].values())
    accuracy = compared.differences["worse"]["overall", "accuracy"]
    assert accuracy["high"] < 0


def test_values_are_those_of_score(make_run, base):
    compared = compare_runs([make_run("good", base), make_run("worse", noisier(base))])
    scored = score(base, CLASSES, RECIPE.evaluation)["roles"]["selection"]
    for name, estimate in scored["overall"].items():
        assert compared.roles["selection"].values["good"]["overall", name]["value"] == pytest.approx(
            estimate["value"]
        )


def test_pairing_narrows_the_interval(make_run, base):
    """Nearly the same model: the paired interval is far narrower than either run's own."""
    nearly = base.copy()
    nearly.loc[:5, [f"p_{code}" for code in CLASSES]] = 1 / 7
    compared = compare_runs([make_run("one", base), make_run("two", nearly)]).roles["selection"]

    def width(entry):
        return entry["high"] - entry["low"]

    place = ("overall", "accuracy")
    assert width(compared.differences["two"][place]) < width(compared.values["one"][place]) / 2


def test_only_images_in_common_and_in_the_same_role(make_run, make_predictions):
    first = make_predictions(140, "selection", prefix="image")
    second = first[::-1].iloc[:70].copy()
    second.loc[second.index[:10], "role"] = "calibration"
    compared = compare_runs([make_run("one", first), make_run("two", second)])
    assert {role: part.images for role, part in compared.roles.items()} == {"selection": 60}


def test_column_order_of_the_classes_does_not_matter(make_run, base):
    p = [f"p_{code}" for code in CLASSES]
    others = [name for name in base.columns if name not in p]
    compared = compare_runs([make_run("one", base), make_run("two", base[[*others, *reversed(p)]])])
    assert compared.roles["selection"].differences["two"]["overall", "accuracy"]["value"] == 0


def test_json_and_table(make_run, base):
    compared = compare_runs([make_run("good", base), make_run("worse", noisier(base))])
    document = compared.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["reference"] == "good"
    assert set(document["roles"]["selection"]["differences"]) == {"worse"}
    text = io.StringIO()
    Console(file=text, width=160).print(compared.render())
    rows = text.getvalue().splitlines()
    assert any("recall mel" in row for row in rows)
    value = compared.roles["selection"].differences["worse"]["overall", "accuracy"]["value"]
    assert any("accuracy" in row and f"{value:+.3f}" in row for row in rows)


@pytest.mark.parametrize("protocol", ["grouped", None])
def test_an_opened_test_is_not_shown_again(make_run, make_predictions, base, protocol):
    """Its numbers are in the ledger; a comparison would show them without a line there."""
    both = pd.concat([base, make_predictions(140, "test")], ignore_index=True)
    compared = compare_runs([make_run("one", both, protocol), make_run("two", noisier(both), protocol)])
    assert list(compared.roles) == ["selection"]
    (warning,) = compared.to_json()["warnings"]
    assert "sealed test role" in warning
    text = io.StringIO()
    Console(file=text, width=160).print(compared.render())
    assert warning in text.getvalue()
    opened = both[both["role"] == "test"].reset_index(drop=True)
    with pytest.raises(UserError, match=r"test role.*sealed"):
        compare_runs([make_run("three", opened, protocol), make_run("four", opened, protocol)])


def test_where_test_is_all_there_is_it_is_compared(make_run, make_predictions):
    tested = make_predictions(140, "test")
    runs = [make_run("one", tested, "singletons"), make_run("two", noisier(tested), "singletons")]
    compared = compare_runs(runs)
    assert list(compared.roles) == ["test"]
    assert compared.warnings == ()
    with pytest.raises(UserError, match="sealed"):  # one run's seal is enough
        compare_runs([runs[0], make_run("three", tested, "grouped")])


def test_refusals(make_run, make_predictions, base):
    one = make_run("one", base)
    with pytest.raises(UserError, match="two runs"):
        compare_runs([one])
    with pytest.raises(UserError, match="twice"):
        compare_runs([one, one])
    elsewhere = make_run("elsewhere", make_predictions(70, "selection", prefix="other"))
    with pytest.raises(UserError, match="same role"):
        compare_runs([one, elsewhere])
    binary = make_run("binary", make_predictions(70, classes=("mel", "nv")))
    with pytest.raises(UserError, match=r"binary.*mel, nv"):
        compare_runs([one, binary])
    relabelled = base.copy()
    relabelled.loc[3, "target"] = "nv"
    with pytest.raises(UserError, match=r"selection_3.*relabelled"):
        compare_runs([one, make_run("relabelled", relabelled)])
