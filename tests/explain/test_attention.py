"""Attention as the network applies it."""

from __future__ import annotations

import numpy as np
import pytest


def test_every_head_sums_to_one_and_all_to_their_number(explain):
    heat = explain("attention", "attention")
    np.testing.assert_allclose(heat.heads_KSS.sum(axis=(1, 2)), np.ones(16), rtol=1e-6)
    assert heat.heat_SS.sum() == pytest.approx(16)
    np.testing.assert_allclose(heat.heads_KSS.sum(axis=0), heat.heat_SS)
