"""Ten hand-made tables, as isic-challenge-scoring scores them (the fixtures' README has the command)."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from dermlens import metrics
from dermlens.labels import ISIC_COLUMNS

FIXTURES = Path(__file__).parents[1] / "fixtures" / "isic_challenge_scoring"
NAMES = sorted(path.name.removesuffix(".json") for path in FIXTURES.glob("*.json"))
EXACT = {"rel": 0, "abs": 1e-12}


def read(name, kind):
    with (FIXTURES / f"{name}.{kind}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[column]) for column in ISIC_COLUMNS] for row in rows])


@pytest.fixture(params=NAMES)
def table(request):
    name = request.param
    theirs = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return read(name, "truth").argmax(axis=1), read(name, "prediction"), theirs


def test_there_are_ten():
    assert len(NAMES) == 10


def test_balanced_accuracy(table):
    target_N, p_NC, theirs = table
    expected = theirs["aggregate"]["balanced_accuracy"]
    assert metrics.balanced_accuracy_isic(target_N, p_NC) == pytest.approx(expected, **EXACT)


@pytest.mark.parametrize(
    ("theirs_name", "ours"),
    [
        ("auc", lambda ranked: ranked.auc),
        ("auc_sens_80", lambda ranked: ranked.partial_auc(0.8)),
        ("ap", lambda ranked: ranked.average_precision),
    ],
)
def test_per_class_rankings(table, theirs_name, ours):
    target_N, p_NC, theirs = table
    expected = theirs["per_category"][theirs_name]
    present = {ISIC_COLUMNS[index] for index in target_N}
    assert set(expected) == present
    for index, code in enumerate(ISIC_COLUMNS):
        found = ours(metrics.ranking(target_N == index, p_NC[:, index]))
        if code in present:
            assert found == pytest.approx(expected[code], **EXACT), code
        else:
            assert np.isnan(found), code


def test_macro_average_of_whole_tables(table):
    target_N, p_NC, theirs = table
    if theirs["refused"]:
        assert len(np.unique(target_N)) < len(ISIC_COLUMNS)
        return
    classes = range(len(ISIC_COLUMNS))
    aucs = np.array([metrics.ranking(target_N == index, p_NC[:, index]).auc for index in classes])
    support = np.bincount(target_N, minlength=len(ISIC_COLUMNS)).astype(float)
    assert metrics.macro(aucs, support) == pytest.approx(theirs["macro_average"]["auc"], **EXACT)


def test_ties_matter_in_these_tables():
    """Guards the fixtures: with ties counted as right, at least two tables would score otherwise."""
    lenient = 0
    for name in NAMES:
        target_N, p_NC = read(name, "truth").argmax(axis=1), read(name, "prediction")
        counts = metrics.one_vs_rest(target_N, metrics.predicted_classes(p_NC), len(ISIC_COLUMNS))
        strict = metrics.balanced_accuracy_isic(target_N, p_NC)
        lenient += metrics.macro(counts.recall, counts.support) > strict + 1e-6
    assert lenient >= 2
