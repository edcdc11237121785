"""Planned contrasts: two levels of draws, Holm's correction, and nothing that differs from itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from dermlens.labels import CLASSES
from paper.contrasts import Contrast, correct, draw_two_levels, holm, measure_contrasts

from .tiny_study import LESIONS, out_of_fold

FOLDS = 3


def contrast(arm: str, reference: str = "base", measure: str = "mean_recall") -> Contrast:
    return Contrast(question="q", arm=arm, reference=reference, measure=measure, matters=0.02)


def test_holm_is_the_textbooks():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, 0.9])), [1.0, 1.0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(p):
    found = holm(np.array(p))
    assert (found >= np.array(p) - 1e-12).all()
    assert (found <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(found[order]) >= 0).all()


def test_folds_are_drawn_whole_and_lesions_within_them_by_class():
    table = out_of_fold(0.5)
    target_N = table["target"].map(CLASSES.index).to_numpy()
    fold_N = table["fold"].to_numpy()
    draws = draw_two_levels(table["lesion_id"].to_numpy(), target_N, fold_N, replicates=400, seed=1)
    weight_RN = np.concatenate(list(draws.blocks()))
    times_RF = np.stack(
        [weight_RN[:, fold_N == fold].sum(axis=1) / (7 * LESIONS) for fold in range(FOLDS)], 1
    )
    assert (times_RF == times_RF.round()).all()
    assert (times_RF.sum(axis=1) == FOLDS).all()
    for fold in range(FOLDS):  # every class as often as the fold itself
        for index in range(7):
            cell = weight_RN[:, (fold_N == fold) & (target_N == index)].sum(axis=1) / LESIONS
            np.testing.assert_array_equal(cell, times_RF[:, fold])
    # a fold is left out as often as three draws of three leave it out
    assert (times_RF == 0).mean() == pytest.approx((2 / 3) ** 3, abs=0.04)
    assert weight_RN[times_RF[:, 0] == 1][:, fold_N == 0].max() > 1


def test_an_arm_does_not_differ_from_itself():
    tables = {"base": out_of_fold(0.6), "same": out_of_fold(0.6)}
    [row] = correct(measure_contrasts(tables, [contrast("same")], replicates=200, seed=0), 1).to_dict(
        "records"
    )
    assert (row["difference"], row["low"], row["high"], row["p"]) == (0, 0, 0, 1)
    assert row["verdict"] == "inconclusive"


def test_gains_and_losses_are_found_and_small_ones_named():
    tables = {"base": out_of_fold(0.6), "better": out_of_fold(0.8, seed=1), "worse": out_of_fold(0.4, seed=2)}
    planned = [
        contrast("better"),
        contrast("worse"),
        contrast("better", measure="accuracy"),
        Contrast("q", "better", "base", "mean_recall", matters=0.5),
        contrast("absent"),
    ]
    found = correct(measure_contrasts(tables, planned, replicates=500, seed=0), len(planned))
    assert found["verdict"].tolist() == ["gains", "loses", "gains", "gains, less than would matter"]
    better = found.iloc[0]
    assert better["difference"] == pytest.approx(better["value"] - better["reference_value"])
    assert better["low"] < better["difference"] < better["high"]
    assert (found["p_holm"] >= found["p"]).all()


@pytest.mark.parametrize("planned", [1, 37])
def test_the_detectable_effect_is_of_80_percent_power_after_the_correction(planned):
    tables = {"base": out_of_fold(0.6), "other": out_of_fold(0.62, seed=3)}
    measured = measure_contrasts(tables, [contrast("other")], replicates=2000, seed=0)
    [row] = correct(measured, planned).to_dict("records")
    # one image a lesion, even classes: the error of a difference of two independent shares, and the folds'
    share = FOLDS * LESIONS * 7
    error = np.sqrt(0.6 * 0.4 / share + 0.62 * 0.38 / share)
    least = (norm.ppf(1 - 0.025 / planned) + norm.ppf(0.8)) * error
    assert least < row["detectable"] < 2 * least


def test_contrasts_that_were_not_run_count_as_nothing():
    """A verdict is the same whether or not another arm has been trained."""
    p = np.array([0.001, 0.02, 0.004])
    np.testing.assert_allclose(holm(p, 5), holm(np.array([*p, 1.0, 1.0]))[:3])
    np.testing.assert_allclose(holm(p, 5), [0.005, 0.06, 0.016])


@pytest.mark.parametrize("measure", ["accuracy", "mean_recall"])
def test_kinds_of_lesions_are_drawn_as_lesions_are(measure):
    """Against scikit-learn's scores of weighted images, lesions of two images drawn one by one."""
    tables = {"base": out_of_fold(0.6), "other": out_of_fold(0.7, seed=3)}
    for table in tables.values():  # the second image of a lesion is of its class
        table["lesion_id"] = [f"L{index // 14}-{index % 7}" for index in range(len(table))]
    [row] = measure_contrasts(
        tables, [contrast("other", measure=measure)], replicates=20_000, seed=4
    ).to_dict("records")
    table = tables["base"]
    target_N = table["target"].map(CLASSES.index).to_numpy()
    lesion_N, fold_N = table["lesion_id"].to_numpy(dtype=str), table["fold"].to_numpy()
    draws = draw_two_levels(lesion_N, target_N, fold_N, replicates=800, seed=5)
    by_arm = []
    for arm in ("other", "base"):
        named_N = tables[arm][[f"p_{code}" for code in CLASSES]].to_numpy().argmax(axis=1)
        score = accuracy_score if measure == "accuracy" else balanced_accuracy_score
        weights = np.concatenate(list(draws.blocks()))
        by_arm.append([score(target_N, named_N, sample_weight=weight_N) for weight_N in weights])
    difference_R = np.subtract(*by_arm)
    error = difference_R.std(ddof=1)
    assert row["se"] == pytest.approx(error, rel=4 / np.sqrt(2 * 800))  # four standard errors of a deviation
    # and of a quantile in the tail, where the density of a normal is 0.058
    bounds = np.quantile(difference_R, [0.025, 0.975])
    assert (row["low"], row["high"]) == pytest.approx(
        tuple(bounds), abs=4 * 0.156 / 0.058 / np.sqrt(800) * error
    )
