"""What is published of the comparison: every value follows from the predictions committed with it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from dermlens.sections import EvaluationConfig
from related.publication import read_published
from related.study import load_study
from related.table import table_of
from related.uncertainty import uncertainty_table
from related.unseen import SCORES, unseen_table

RESULTS = Path(__file__).parents[2] / "docs" / "results" / "related"
WITHOUT_INTERVALS = EvaluationConfig(bootstrap=0)


@pytest.fixture(scope="module")
def study():
    return load_study()


def check(published, again, names):
    """The same rows with the same values, six digits being published."""
    assert published[names].to_numpy().tolist() == again[names].to_numpy().tolist()
    for column in ("value", "difference"):
        if column in again:
            ours, theirs = published[column].to_numpy(float), again[column].to_numpy(float)
            assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6, nan_ok=True), column


def test_tables_are_recomputed(study):
    folds = read_published(study, RESULTS)
    check(pd.read_csv(RESULTS / "table.csv"), table_of(study, folds, WITHOUT_INTERVALS), ["system", "metric"])
    singletons = read_published(study, RESULTS, "singletons")
    check(
        pd.read_csv(RESULTS / "singletons" / "table.csv"),
        table_of(study, singletons, WITHOUT_INTERVALS),
        ["system", "metric"],
    )
    heads = {name: seeds for name, seeds in folds.items() if study.systems[name].kind == "head"}
    check(
        pd.read_csv(RESULTS / "uncertainty.csv"),
        uncertainty_table(study, heads, WITHOUT_INTERVALS),
        ["system", "metric"],
    )


def test_the_table_of_unseen_classes_is_recomputed():
    scores = pd.read_csv(RESULTS / "unseen" / SCORES, dtype={"image_id": str, "lesion_id": str})
    again = unseen_table(scores, WITHOUT_INTERVALS)
    check(pd.read_csv(RESULTS / "unseen" / "table.csv"), again, ["left_out", "method", "measure"])
    assert not scores.duplicated(["image_id", "left_out"]).any()
