"""Mean real cost: by hand, and at the costs that make it 1 − accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from dermlens.metrics import UNDECIDED, mean_cost


def test_by_hand():
    cost_CC = np.array([[0.0, 10.0, 2.0], [1.0, 0.0, 1.0], [3.0, 4.0, 0.0]])
    target_N, named_N = np.array([0, 0, 1, 2, 2]), np.array([1, 0, 2, 0, UNDECIDED])
    assert mean_cost(target_N, named_N, cost_CC) == pytest.approx((10 + 0 + 1 + 3 + 4) / 5)
    weights_RN = np.array([[1.0, 0, 0, 0, 0], [0, 1, 1, 0, 0]])
    np.testing.assert_allclose(mean_cost(target_N, named_N, cost_CC, weights_RN), [10, 0.5])


def test_equal_costs_are_the_share_of_mistakes():
    rng = np.random.default_rng(2)
    target_N, named_N = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    cost_CC = 1.0 - np.eye(4)
    assert mean_cost(target_N, named_N, cost_CC) == pytest.approx((target_N != named_N).mean())
