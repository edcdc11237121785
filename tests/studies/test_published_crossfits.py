"""The cross-fits under docs/results say what their own predictions say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dermlens.recipe import load_recipe
from dermlens.sections import EvaluationConfig
from dermlens.studies.crossfit import PREDICTIONS, RECIPE, RECORD, publish_crossfit
from dermlens.studies.folds import read_out_of_fold
from dermlens.studies.scores import score_study

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PUBLISHED = sorted(path.parent for path in RESULTS.rglob(RECORD))


def scores_of(roles):
    """Values without intervals, by role, decision and metric."""
    return {
        (role, decision, name): found["value"]
        if "value" in found
        else {c: r["value"] for c, r in found.items()}
        for role, scored in roles.items()
        for decision, numbers in scored["decisions"].items()
        for name, found in numbers.items()
    }


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_scores_are_recomputed(folder):
    """To rounding: processors add in different orders, and a rule is fitted on the sums."""
    table = read_out_of_fold(folder / f"{PREDICTIONS}.gz")
    again = scores_of(score_study(table, EvaluationConfig(bootstrap=0))["roles"])
    stated = scores_of(json.loads((folder / RECORD).read_text(encoding="utf-8"))["roles"])
    assert again.keys() == stated.keys()
    for place, value in stated.items():
        assert again[place] == pytest.approx(value, abs=1e-4), place
    assert load_recipe(str(folder / RECIPE)).train.monitor_role == "none"
    assert not table["role"].eq("test").any()


def test_a_cross_fit_is_published_without_its_folders(whole, tmp_path):
    publish_crossfit(whole, tmp_path / "published")
    names = {path.name for path in (tmp_path / "published").iterdir()}
    assert names == {RECORD, RECIPE, f"{PREDICTIONS}.gz"}
    assert str(whole.parent) not in (tmp_path / "published" / RECORD).read_text(encoding="utf-8")
    assert read_out_of_fold(tmp_path / "published" / f"{PREDICTIONS}.gz").equals(
        read_out_of_fold(whole / PREDICTIONS)
    )
