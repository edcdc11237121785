"""The arm of a fold is chosen on the other folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from paper.contrasts import best_elsewhere


def arm(right_by_fold: dict[int, float]) -> pd.DataFrame:
    """Forty images a fold, half of each class, of which a share is named rightly."""
    rows = []
    for fold, right in right_by_fold.items():
        for index in range(40):
            target = "ab"[index % 2]
            hit = index < 40 * right
            named = target if hit else "ba"[index % 2]
            name = f"{fold}-{index}"
            rows.append({
                "image_id": name, "lesion_id": name, "target": target, "fold": fold,
                "p_a": 0.9 if named == "a" else 0.1, "p_b": 0.9 if named == "b" else 0.1,
            })  # fmt: skip
    return pd.DataFrame(rows)


def accuracy(table: pd.DataFrame, fold: int) -> float:
    own = table[table["fold"] == fold]
    return float((np.where(own["p_a"] > 0.5, "a", "b") == own["target"]).mean())


def test_a_fold_takes_what_was_best_on_the_others():
    tables = {"lucky_on_0": arm({0: 1.0, 1: 0.5, 2: 0.5}), "steady": arm({0: 0.7, 1: 0.7, 2: 0.7})}
    chosen = best_elsewhere(tables, ["lucky_on_0", "steady"])
    assert accuracy(chosen, 0) == pytest.approx(0.7)  # on folds 1 and 2 the steady one is better
    assert accuracy(chosen, 1) == pytest.approx(0.5)  # on 0 and 2 the lucky one has a mean of 0.75
    assert accuracy(chosen, 2) == pytest.approx(0.5)
    assert chosen["image_id"].tolist() == tables["steady"]["image_id"].tolist()


def test_of_one_it_is_that_one_and_nothing_is_changed_in_place():
    only = arm({0: 0.6, 1: 0.4})
    before = only.copy()
    pd.testing.assert_frame_equal(best_elsewhere({"only": only}, ["only"]), before)
    pd.testing.assert_frame_equal(only, before)
