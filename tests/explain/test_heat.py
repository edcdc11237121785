"""Coarse maps on fine squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.explain.network import spread


@given(cells=st.integers(1, 7), scale=st.integers(1, 9), seed=st.integers(0, 99))
def test_spreading_keeps_the_sum_where_cells_are_whole_pixels(cells, scale, seed):
    map_hw = np.random.default_rng(seed).normal(size=(cells, cells))
    assert spread(map_hw, cells * scale).sum() == pytest.approx(map_hw.sum(), abs=1e-9)


def test_a_map_of_its_own_size_stays():
    map_SS = np.random.default_rng(0).normal(size=(5, 5))
    np.testing.assert_allclose(spread(map_SS, 5), map_SS)
    np.testing.assert_allclose(spread(np.stack([map_SS, -map_SS]), 5), np.stack([map_SS, -map_SS]))
