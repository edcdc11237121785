"""The ablations under docs/results say what their own predictions say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from dermlens.data.predictions import classes_of
from dermlens.studies.ablation import read_record, score_folder
from dermlens.studies.ablation_page import render_page
from dermlens.studies.folds import read_tables

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PUBLISHED = sorted(path.parent for path in RESULTS.rglob("ablation.json"))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_the_table_is_recomputed(folder):
    """Baseline and last arm, as processors add in different orders, to five digits; all take minutes."""
    stated = pd.read_csv(folder / "ablation.csv")
    record = read_record(folder)
    two = [record["matrix"]["baseline"], list(record["arms"])[-1]]
    again = score_folder(folder, two)
    expected = stated[stated["arm"].isin(two) & stated["decision"].isin(again["decision"])]
    found = again[again["decision"].isin(stated["decision"])]
    assert "argmax" in set(found["decision"])  # the rule of 0.1.0, by which some were named too, is gone
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), expected.reset_index(drop=True), rtol=2e-5, atol=5e-6
    )
    assert (folder / "README.md").read_text(encoding="utf-8") == render_page(record, stated)


@pytest.mark.slow
@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_the_whole_table_is_recomputed(folder):
    again, stated = score_folder(folder), pd.read_csv(folder / "ablation.csv")
    both = set(again["decision"]) & set(stated["decision"])
    found, expected = (
        table[table["decision"].isin(both)].reset_index(drop=True) for table in (again, stated)
    )
    pd.testing.assert_frame_equal(found, expected, rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_every_arm_agrees_with_scikit_learn(folder):
    stated = (
        pd.read_csv(folder / "ablation.csv").set_index(["decision", "arm", "metric"])["value"].sort_index()
    )
    tables = read_tables(folder, list(read_record(folder)["arms"]))
    assert set(tables) == set(stated.index.unique("arm"))
    for arm, table in tables.items():
        classes = np.array(classes_of(table))
        named = classes[table[[f"p_{code}" for code in classes]].to_numpy().argmax(axis=1)]
        found = stated["argmax", arm]
        assert found["mean_recall"] == pytest.approx(
            balanced_accuracy_score(table["target"], named), abs=1e-3
        )
        assert found["accuracy"] == pytest.approx(accuracy_score(table["target"], named), abs=1e-3)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_no_image_is_scored_twice_and_no_lesion_in_two_folds(folder):
    images = pd.read_csv(folder / "images.csv.gz")
    assert not images["image_id"].duplicated().any()
    assert len(images[["lesion_id", "fold"]].drop_duplicates()) == images["lesion_id"].nunique()


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_nothing_published_shows_a_machine(folder):
    assert '"/' not in (folder / "ablation.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda path: path.name)
def test_arms_that_were_not_trained_are_named(folder):
    page = (folder / "README.md").read_text(encoding="utf-8")
    for arm in read_record(folder)["missing"]:
        assert arm in page[page.index("Named in advance and not trained") :].splitlines()[0]
