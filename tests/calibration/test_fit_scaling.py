from __future__ import annotations

import numpy as np
import pytest
from decisions import PRIOR
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from dermlens.calibration.labelled import Labelled
from dermlens.calibration.probabilities import RIDGE, choose_scaling, class_weights, fit_scaling
from dermlens.predict.decision import scaled
from dermlens.predict.document import Scaling


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


def test_vector_scaling_is_what_scipy_finds(world):
    role = world(500, seed=4)
    weight_N = np.ones(500)
    ours = fit_scaling("vector", role.logits_NC, role.target_N, weight_N)
    beta = 1 / fit_scaling("temperature", role.logits_NC, role.target_N, weight_N).temperature
    start = np.concatenate([np.full(7, beta), np.zeros(7)])

    def objective(theta):
        log_p_NC = log_softmax(role.logits_NC * theta[:7] + theta[7:], axis=1)
        return log_loss(log_p_NC, role.target_N, weight_N) + RIDGE / 2 * ((theta - start) ** 2).sum()

    theirs = minimize(objective, start, method="BFGS", options={"gtol": 1e-6})
    assert objective(np.array([*ours.scale, *ours.bias])) <= theirs.fun + 1e-6
    np.testing.assert_allclose([*ours.scale, *ours.bias], theirs.x, atol=0.02)


def test_bias_undoes_training_for_equal_shares(world):
    """A balanced network's logits lack log prior; the bias puts it back, and temperature alone cannot."""
    role = world(5000, seed=5)
    balanced_NC = role.logits_NC - np.log(PRIOR)
    found = fit_scaling("bias", balanced_NC, role.target_N, np.ones(5000))
    expected = np.log(PRIOR) - np.log(PRIOR).mean()
    np.testing.assert_allclose(np.array(found.bias) - np.mean(found.bias), expected, atol=0.3)
    chosen = choose_scaling(Labelled(balanced_NC, role.features_ND, role.target_N, role.lesion_N), PRIOR)
    assert chosen.bias is not None
    assert chosen.cross_validated["bias"] < chosen.cross_validated["temperature"]


def test_no_kind_does_worse_than_a_temperature_on_its_own_images(world):
    role = world(300, seed=6)
    loss = {
        kind: log_loss(
            scaled(role.logits_NC, fit_scaling(kind, role.logits_NC, role.target_N, np.ones(300))),
            role.target_N,
            np.ones(300),
        )
        for kind in ("temperature", "bias", "vector")
    }
    assert loss["vector"] <= loss["bias"] + 0.5
    assert loss["bias"] <= loss["temperature"]


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
    vector = fit_scaling("vector", wrong_NC, target_N, np.ones(40))
    assert vector.scale == (0.0, 0.0)


def test_separated_classes_give_finite_numbers():
    target_N = np.arange(30) % 3
    found = fit_scaling("vector", 30.0 * np.eye(3)[target_N], target_N, np.ones(30))
    assert np.isfinite([*found.scale, *found.bias]).all()


def test_a_class_with_one_lesion_leaves_the_temperature(world):
    role = world(300, seed=1)
    first = role.lesion_N[role.target_N == 3][0]
    kept = (role.target_N != 3) | (role.lesion_N == first)
    few = Labelled(*(part[kept] for part in (role.logits_NC, role.features_ND, role.target_N, role.lesion_N)))
    chosen = choose_scaling(few, PRIOR)
    assert list(chosen.cross_validated) == ["temperature"]
    assert chosen == Scaling(temperature=chosen.temperature, cross_validated=chosen.cross_validated)
