from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax as scipy_log_softmax

from dermlens.predict.decision import at_equal, at_prior, log_softmax, scaled
from dermlens.predict.decision_document import Scaling
from dermlens.predict.priors import ClassPrior

LOGITS = arrays(np.float64, (5, 4), elements=st.floats(-50, 50))


@given(LOGITS)
def test_log_softmax_is_scipys(logits_NC):
    np.testing.assert_allclose(log_softmax(logits_NC), scipy_log_softmax(logits_NC, axis=1), atol=1e-12)


def test_log_softmax_of_what_would_overflow():
    np.testing.assert_allclose(log_softmax(np.array([[1e4, 0.0], [-1e4, 0.0]])), [[0, -1e4], [-1e4, 0]])


@given(LOGITS, st.floats(0.1, 10))
def test_temperature_leaves_the_order_alone(logits_NC, temperature):
    """Of all orders, not of the highest alone; equal to rounding is equal."""
    hot_NC = scaled(logits_NC, Scaling(temperature=temperature))
    cold_NC = scaled(logits_NC, Scaling())
    ranks = np.argsort(cold_NC, axis=1)
    assert (np.diff(np.take_along_axis(hot_NC, ranks, axis=1), axis=1) >= -1e-9).all()


def test_vector_scaling_by_hand():
    """Logits 1, 2 become 1·2/0.5 + 0 = 4 and 2·1/0.5 − 1 = 3."""
    log_p_NC = scaled(np.array([[1.0, 2.0]]), Scaling(temperature=0.5, scale=(2.0, 1.0), bias=(0.0, -1.0)))
    assert np.exp(log_p_NC[0, 0]) == pytest.approx(1 / (1 + np.exp(-1)))


def test_prior_shift_is_bayes(world):
    """The exact posterior at one prior, shifted, is the exact posterior at the other."""
    from decisions import MEANS, PRIOR

    role = world(200)
    other_C = np.array([3, 1, 1, 2, 5, 1, 1.0])
    square_NC = ((role.features_ND.astype(float)[:, None] - MEANS) ** 2).sum(axis=2)
    exact_NC = log_softmax(np.log(other_C) - square_NC / 2)
    stated, given_ = (ClassPrior(name="x", shares=tuple(mix / mix.sum())) for mix in (PRIOR, other_C))
    equal_NC = at_equal(np.exp(log_softmax(role.logits_NC)), stated)
    np.testing.assert_allclose(at_prior(equal_NC, given_), exact_NC, rtol=1e-5, atol=1e-4)
