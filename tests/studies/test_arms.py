from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from dermlens.data.predictions import write_predictions
from dermlens.evaluation.comparison import compare_runs
from dermlens.labels import CLASSES
from dermlens.recipe import Recipe
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig
from dermlens.studies.scores import by_arm, compare_arms

CONFIG = EvaluationConfig(bootstrap=80)


@pytest.fixture
def tables(predictions):
    return {
        "base": predictions(skill=1.0),
        "better": predictions(seed=1, skill=2.0),
        "same": predictions(skill=1.0),
    }


@pytest.fixture
def rows(tables):
    return by_arm(compare_arms(tables, CONFIG).query("decision == 'argmax'"))


def test_values_are_those_of_scikit_learn(tables, rows):
    for arm, table in tables.items():
        named = np.array(CLASSES)[table[[f"p_{code}" for code in CLASSES]].to_numpy().argmax(axis=1)]
        assert rows[arm]["mean_recall"]["value"] == pytest.approx(
            metrics.balanced_accuracy_score(table["target"], named)
        )
        recalls = metrics.recall_score(table["target"], named, labels=CLASSES, average=None)
        assert rows[arm]["recall_mel"]["value"] == pytest.approx(recalls[CLASSES.index("mel")])


def test_an_arm_differs_by_its_difference_and_not_from_itself(rows):
    for metric, row in rows["better"].items():
        assert row["difference"] == pytest.approx(row["value"] - rows["base"][metric]["value"])
        assert rows["same"][metric]["difference"] == 0
        assert np.isnan(rows["base"][metric]["difference"])
    assert rows["better"]["mean_recall"]["difference_low"] > 0


def test_intervals_are_those_of_compare(tables, rows, tmp_path):
    """The paired comparison of runs, on the same draws."""
    runs = []
    for name, table in tables.items():
        run = Run.create(tmp_path / name, Recipe(evaluation=CONFIG))
        write_predictions(run.predictions_file, table.assign(role="selection"))
        runs.append(run)
    compared = compare_runs(runs).roles["selection"]
    for metric, place in {
        "mean_recall": ("overall", "balanced_accuracy_isic"),
        "macro_auc": ("averages", "macro", "auc"),
        "ece": ("overall", "ece"),
        "recall_mel": ("per_class", "mel", "recall"),
    }.items():
        row, expected = rows["better"][metric], compared.differences["better"][place]
        assert [row["difference"], row["difference_low"], row["difference_high"]] == pytest.approx(
            [expected["value"], expected["low"], expected["high"]]
        )


def test_every_arm_has_every_number(tables):
    table = compare_arms(tables, CONFIG)
    assert len(table) == table[["arm", "decision", "metric"]].drop_duplicates().shape[0]
    counts = table.groupby(["arm", "decision"]).size()
    assert set(counts) == {5 + len(CLASSES)}
    assert isinstance(table, pd.DataFrame)
