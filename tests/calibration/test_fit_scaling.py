from __future__ import annotations

import numpy as np
import pytest
from decisions import PRIOR
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from dermlens.calibration.probabilities import (
    Labelled,
    class_weights,
    even_weights,
    fit_even_scaling,
    fit_scaling,
)
from dermlens.predict.decision import scaled


def log_loss(log_p_NC, target_N, weight_N):
    return -(weight_N * log_p_NC[np.arange(len(target_N)), target_N]).sum()


def test_temperature_is_what_scipy_finds(world):
    role = world(400, seed=1)
    logits_NC, weight_N = 2.7 * role.logits_NC, np.random.default_rng(0).uniform(0.2, 2, 400)
    ours = fit_scaling("temperature", logits_NC, role.target_N, weight_N)
    theirs = minimize_scalar(
        lambda beta: log_loss(log_softmax(beta * logits_NC, axis=1), role.target_N, weight_N),
        bounds=(1e-3, 10), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    assert 1 / ours.temperature == pytest.approx(theirs.x, rel=1e-5)


def test_temperature_undoes_a_factor(world):
    """The logits are exact, so three times the logits need a temperature of three."""
    role = world(6000, seed=2)
    found = fit_scaling("temperature", 3 * role.logits_NC, role.target_N, np.ones(6000))
    assert found.temperature == pytest.approx(3, rel=0.08)
    assert (found.scale, found.bias) == (None, None)


def test_two_classes_are_platts_logistic_regression():
    """With two classes a temperature and biases are a logistic regression on the difference of the logits."""
    rng = np.random.default_rng(3)
    target_N = rng.integers(0, 2, 500)
    logits_NC = rng.normal(size=(500, 2)) + 1.5 * np.eye(2)[target_N]
    ours = fit_scaling("bias", logits_NC, target_N, np.full(500, 100.0))  # so that the ridge is nothing
    difference_N1 = (logits_NC[:, 1] - logits_NC[:, 0])[:, None]
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(difference_N1, target_N)
    assert 1 / ours.temperature == pytest.approx(theirs.coef_[0, 0], rel=1e-3)
    assert ours.bias[1] - ours.bias[0] == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_what_ships_is_for_equal_shares_whatever_the_network_was_trained_for(world):
    """The logits are exact at `PRIOR`, which equal shares take out; a balanced network lacks it already."""
    role = world(5000, seed=5)
    for logits_NC, expected_C in (
        (role.logits_NC, -np.log(PRIOR)),
        (role.logits_NC - np.log(PRIOR), np.zeros(7)),
    ):
        of_network = Labelled(logits_NC, role.features_ND, role.target_N, role.lesion_N)
        found, score_NC = fit_even_scaling(of_network)
        assert found.temperature == pytest.approx(1, abs=0.15)
        bias_C = np.array(found.bias or [0.0] * 7) * found.temperature
        np.testing.assert_allclose(bias_C - bias_C.mean(), expected_C - expected_C.mean(), atol=0.45)
        np.testing.assert_allclose(np.exp(score_NC).sum(axis=1), 1)
        assert found.log_loss["after"] <= found.log_loss["before"] + 0.02


def test_scores_out_of_fold_have_not_seen_the_truth_of_their_lesion(world):
    role = world(400, seed=3)
    _, score_NC = fit_even_scaling(role)
    lesion = role.lesion_N == role.lesion_N[0]
    other_N = role.target_N.copy()
    other_N[lesion] = role.target_N[~lesion][0]
    swapped = Labelled(role.logits_NC, role.features_ND, other_N, role.lesion_N)
    weights = even_weights(swapped)
    assert weights.mean() == pytest.approx(1)
    assert not np.allclose(score_NC, scaled(role.logits_NC, fit_even_scaling(role)[0]), atol=1e-6)


def test_a_bias_does_no_worse_than_a_temperature_on_its_own_images(world):
    role = world(300, seed=6)
    loss = {
        kind: log_loss(
            scaled(role.logits_NC, fit_scaling(kind, role.logits_NC, role.target_N, np.ones(300))),
            role.target_N,
            np.ones(300),
        )
        for kind in ("temperature", "bias")
    }
    assert loss["bias"] <= loss["temperature"]


def test_classes_weigh_alike_and_in_a_class_its_sources():
    """Ten lesions of a at home and five away, ten of b at home and one, too few to count for itself, away."""
    target_N = np.repeat([0, 0, 1, 1], [10, 5, 10, 1])
    source_N = np.repeat(["home", "away", "home", "away"], [10, 5, 10, 1])
    role = Labelled(np.zeros((26, 2)), np.empty((26, 0)), target_N, np.arange(26).astype(str), source_N)
    weight_N = even_weights(role)
    total = {
        (t, s): weight_N[(target_N == t) & (source_N == s)].sum() for t in (0, 1) for s in ("home", "away")
    }
    assert total[0, "home"] == pytest.approx(total[0, "away"])
    assert total[0, "home"] + total[0, "away"] == pytest.approx(total[1, "home"] + total[1, "away"])
    assert weight_N.mean() == pytest.approx(1)


def test_weights_make_the_role_have_the_prior():
    target_N = np.array([0, 0, 0, 1])
    weight_N = class_weights(target_N, np.array([0.5, 0.5]))
    np.testing.assert_allclose(weight_N, [2 / 3, 2 / 3, 2 / 3, 2])
    np.testing.assert_allclose(class_weights(target_N, np.array([0.75, 0.25])), 1)


def test_calibrated_for_the_stated_prior_on_another_mixture(world):
    """A role with even classes and a skewed stated prior: what comes out is right for the skewed one."""
    even = world(6000, seed=8, prior=np.ones(7))
    weight_N = class_weights(even.target_N, PRIOR)
    found = fit_scaling("bias", even.logits_NC, even.target_N, weight_N)
    fresh = world(3000, seed=9)
    mean_C = np.exp(scaled(fresh.logits_NC, found)).mean(axis=0)
    np.testing.assert_allclose(mean_C, np.bincount(fresh.target_N, minlength=7) / 3000, atol=0.012)


def test_logits_that_say_the_opposite_become_even():
    target_N = np.array([0, 1] * 20)
    wrong_NC = -5 * np.eye(2)[target_N] + np.random.default_rng(0).normal(size=(40, 2))
    for kind in ("temperature", "bias"):
        found = fit_scaling(kind, wrong_NC, target_N, np.ones(40))
        assert found.temperature == pytest.approx(1e3)


def test_separated_classes_give_finite_numbers():
    target_N = np.arange(30) % 3
    found = fit_scaling("bias", 30.0 * np.eye(3)[target_N], target_N, np.ones(30))
    assert np.isfinite([found.temperature, *found.bias]).all()


def test_a_class_with_one_lesion_leaves_the_temperature(world):
    role = world(300, seed=1)
    first = role.lesion_N[role.target_N == 3][0]
    kept = (role.target_N != 3) | (role.lesion_N == first)
    few = Labelled(*(part[kept] for part in (role.logits_NC, role.features_ND, role.target_N, role.lesion_N)))
    chosen, _ = fit_even_scaling(few)
    assert chosen.bias is None
    assert chosen.temperature > 0
