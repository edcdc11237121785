"""Risk and coverage by hand and against brute force; what the table says of calibration and chance."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dermlens.sections import EvaluationConfig
from related.study import Study, System
from related.uncertainty import numbers, risk_and_coverage, uncertainty_table

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


def test_risk_and_coverage_by_hand():
    """Confidences .9 .8 .7 .6 .55, the second and the last wrong: risks 0, 1/2, 1/3, 1/4, 2/5."""
    right_N = np.array([True, False, True, True, False])
    confidence_N = np.array([0.9, 0.8, 0.7, 0.6, 0.55])
    p_NC = np.stack([confidence_N, 1 - confidence_N], axis=1)
    area, error = risk_and_coverage(np.where(right_N, 0, 1), p_NC)
    assert area == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5)
    assert error == pytest.approx(1 / 4)  # four of five are 80 %


def test_a_weight_counts_as_so_many_copies():
    rng = np.random.default_rng(0)
    target_N, p_NC = rng.integers(0, 3, 40), rng.dirichlet(np.ones(3), 40)
    weight_N = rng.integers(0, 4, 40)
    again = np.repeat(np.arange(40), weight_N)
    ours = risk_and_coverage(target_N, p_NC, weight_N.astype(float)[None])
    theirs = risk_and_coverage(target_N[again], p_NC[again])
    np.testing.assert_allclose(ours[1][0], theirs[1], atol=0.05)  # copies of one image may be cut apart
    # The area of copies takes an image's first copies before its last ones, so it only lies near.
    np.testing.assert_allclose(ours[0][0], theirs[0], atol=0.03)


def test_the_best_order_has_the_least_area():
    target_N = np.array([0, 0, 0, 1])
    sure_N = np.array([0.9, 0.8, 0.7, 0.6])
    best = risk_and_coverage(target_N, np.stack([sure_N, 1 - sure_N], 1))[0]
    worst = risk_and_coverage(target_N[::-1], np.stack([sure_N, 1 - sure_N], 1))[0]
    assert best < worst
    assert best == pytest.approx(1 / 16)


def predictions(p_NC, target_N):
    table = pd.DataFrame({"image_id": [f"i{n}" for n in range(len(target_N))]})
    table = table.assign(lesion_id=table["image_id"], target=[CLASSES[c] for c in target_N], fold=0)
    table.loc[::2, "fold"] = 1
    return table.assign(**{f"p_{code}": p_NC[:, index] for index, code in enumerate(CLASSES)})


def test_true_probabilities_lie_in_the_band_of_chance_and_sharpened_ones_above_it(tmp_path):
    rng = np.random.default_rng(1)
    p_NC = rng.dirichlet(np.full(7, 0.5), 3000)
    target_N = np.array([rng.choice(7, p=p_C) for p_C in p_NC])
    sharp_NC = p_NC**3 / (p_NC**3).sum(1, keepdims=True)
    systems = {
        "right": System(id="right", title="true", kind="head", recipe=tmp_path),
        "sure": System(id="sure", title="sharpened", kind="head", recipe=tmp_path, baseline="right"),
    }
    found = {"right": [predictions(p_NC, target_N)], "sure": [predictions(sharp_NC, target_N)]}
    table = uncertainty_table(Study(systems), found, EvaluationConfig(bootstrap=40))
    rows = table.set_index(["system", "metric"])
    right, sure = rows.loc[("right", "ece")], rows.loc[("sure", "ece")]
    assert right["ece_chance_low"] <= right["value"] <= right["ece_chance_high"]
    assert sure["value"] > sure["ece_chance_high"]
    assert rows.loc[("sure", "log_loss"), "difference_low"] > 0
    assert rows.loc[("sure", "risk_area"), "difference"] == pytest.approx(
        rows.loc[("sure", "risk_area"), "value"] - rows.loc[("right", "risk_area"), "value"]
    )
    assert rows["ece_chance_low"].notna().sum() == 2
    direct = numbers(target_N, p_NC, CLASSES, None)
    assert rows.loc[("right", "brier"), "value"] == pytest.approx(float(direct["brier"]))
