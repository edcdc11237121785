from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dermlens.evaluation.calibration import ece, ece_by_chance, line


def probabilities(images=1500, seed=0):
    return np.random.default_rng(seed).dirichlet([0.4, 0.6, 1.5], images)


def test_chance_is_what_labels_from_the_probabilities_give():
    """The mean and the percentiles of `ece` itself over labels that are drawn class by class."""
    p_NC = probabilities(400)
    rng = np.random.default_rng(5)
    cumulated = p_NC.cumsum(axis=1)
    drawn = [float(ece((rng.random((400, 1)) > cumulated).sum(axis=1).clip(0, 2), p_NC)) for _ in range(2000)]
    found = ece_by_chance(p_NC, draws=4000, seed=0, level=0.95)
    assert found["mean"] == pytest.approx(np.mean(drawn), rel=0.03)
    assert found["low"] == pytest.approx(np.quantile(drawn, 0.025), rel=0.06)
    assert found["high"] == pytest.approx(np.quantile(drawn, 0.975), rel=0.06)


def test_the_same_seed_gives_the_same_band():
    p_NC = probabilities(50)
    assert ece_by_chance(p_NC, draws=100, seed=1, level=0.9) == ece_by_chance(
        p_NC, draws=100, seed=1, level=0.9
    )
    assert ece_by_chance(p_NC, draws=0, seed=1, level=0.9) == {"mean": None, "low": None, "high": None}


def test_the_slope_is_that_of_logistic_regression():
    rng = np.random.default_rng(0)
    p_N = probabilities().max(axis=1)
    right_N = rng.random(len(p_N)) < p_N**1.7
    x = np.log(p_N / (1 - p_N))[:, None]
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x, right_N)
    slope, _ = line(right_N, p_N)
    assert float(slope) == pytest.approx(theirs.coef_[0, 0], rel=1e-4)


def test_the_intercept_evens_the_sums():
    """Calibration in the large: with it, as many images are right as the probabilities say."""
    rng = np.random.default_rng(0)
    p_N = probabilities().max(axis=1)
    right_N = rng.random(len(p_N)) < p_N**2
    _, intercept = line(right_N, p_N)
    moved = 1 / (1 + np.exp(-(np.log(p_N / (1 - p_N)) + float(intercept))))
    assert moved.sum() == pytest.approx(right_N.sum())
    assert intercept < 0


def test_weights_are_repetitions():
    rng = np.random.default_rng(2)
    p_N = probabilities(200).max(axis=1)
    right_N = rng.random(200) < p_N
    weights_RN = rng.integers(0, 4, (3, 200)).astype(float)
    slopes, intercepts = line(right_N, p_N, weights_RN)
    for row, weights in enumerate(weights_RN):
        again = np.repeat(np.arange(200), weights.astype(int))
        slope, intercept = line(right_N[again], p_N[again])
        assert slopes[row] == pytest.approx(float(slope))
        assert intercepts[row] == pytest.approx(float(intercept))


@pytest.mark.parametrize("right", [True, False])
def test_one_outcome_has_no_line(right):
    slope, intercept = line(np.full(30, right), probabilities(30).max(axis=1))
    assert np.isnan(slope)
    assert np.isnan(intercept)
