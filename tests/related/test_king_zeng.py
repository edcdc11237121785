"""King and Zeng's corrections, by hand, against exact expectations and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight

from dermlens.errors import UserError
from related.king_zeng import (
    AdjustedRecipe,
    case_weights,
    coefficient_bias,
    corrected_intercept,
    for_population,
)
from related.study import read_recipe


def test_weights_and_intercept_by_hand():
    """A third of the cases are events, of a population with a tenth."""
    assert case_weights(0.1, 1 / 3) == pytest.approx((0.3, 1.35))
    assert corrected_intercept(0.5, 0.1, 1 / 3) == pytest.approx(0.5 - math.log(9 * 0.5))
    assert corrected_intercept(0.5, 0.25, 0.25) == pytest.approx(0.5)


def test_the_intercept_of_a_sample_that_was_drawn_by_outcome_is_brought_back():
    rng = np.random.default_rng(3)
    x_N = rng.normal(size=60_000)
    y_N = rng.random(60_000) < 1 / (1 + np.exp(3 - x_N))
    kept_N = y_N | (rng.random(60_000) < 0.1)
    fitted = LogisticRegression(C=1e6).fit(x_N[kept_N, None], y_N[kept_N])
    assert fitted.intercept_[0] > -1.5
    back = corrected_intercept(fitted.intercept_[0], y_N.mean(), y_N[kept_N].mean())
    assert back == pytest.approx(-3, abs=0.1)


def test_the_bias_of_a_rare_share_is_that_of_its_exact_expectation():
    """With an intercept alone β̂ = logit(k/n), and its expectation over the binomial law is a finite sum."""
    n, p = 400, 0.08
    k = np.arange(1, n)
    exact = stats.binom.pmf(k, n, p) @ np.log(k / (n - k)) - math.log(p / (1 - p))
    [found] = coefficient_bias(np.ones((n, 1)), np.full(n, p))
    assert found == pytest.approx((p - 0.5) / (n * p * (1 - p)))
    assert found == pytest.approx(exact, rel=0.15)


def test_weights_of_one_change_nothing():
    rng = np.random.default_rng(5)
    x_NK, p_N = np.column_stack([np.ones(30), rng.normal(size=30)]), rng.uniform(0.1, 0.9, 30)
    np.testing.assert_allclose(
        coefficient_bias(x_NK, p_N, np.ones(30), 1.0), coefficient_bias(x_NK, p_N), rtol=1e-12
    )


def test_the_bias_of_weighted_cases_by_hand():
    """Of an intercept alone Q_ii is 1/ΣW, so that the bias is ½·[(1 + w₁)·p − w₁]/ΣW."""
    weight_N, p = np.array([0.3, 0.3, 1.35, 1.35, 1.35]), 0.2
    [found] = coefficient_bias(np.ones((5, 1)), np.full(5, p), weight_N, event_weight=0.3)
    assert found == pytest.approx(0.5 * (1.3 * p - 0.3) / (p * (1 - p) * 4.65))


def test_a_recipe_names_no_other_population(tmp_path):
    """Equal shares are all that is computed; a word that nothing reads would say otherwise."""
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nof: baseline\npopulation: ham10000\n")
    with pytest.raises(UserError, match=r"mine.yaml, line 3.*population"):
        read_recipe(AdjustedRecipe, path)


def test_balanced_weights_are_case_weights_of_equal_shares():
    y_N = np.array([0] * 15 + [1] * 5)
    w1, w0 = case_weights(0.5, 0.25)
    np.testing.assert_allclose(compute_class_weight("balanced", classes=np.array([0, 1]), y=y_N), [w0, w1])


def test_two_classes_shifted_are_the_corrected_intercept():
    logit, population, sample = 0.7, 0.1, 0.4
    p = 1 / (1 + math.exp(-logit))
    [[_, ours]] = for_population(
        np.array([[1 - p, p]]), np.array([1 - sample, sample]), np.array([1 - population, population])
    )
    assert math.log(ours / (1 - ours)) == pytest.approx(corrected_intercept(logit, population, sample))
