"""Measures of faithfulness on cases whose answers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from benchmarks import faithfulness as faith

SIDE = 16
MAPS = hnp.arrays(np.float64, (6, 6), elements=st.integers(-5, 5).map(float))
WHITE = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
BLACK = np.zeros_like(WHITE)


def lit(x_BSSC):
    """A model that goes by the brightness of the upper half alone."""
    return x_BSSC[:, : SIDE // 2].mean(axis=(1, 2, 3)) / 255


def upper(sign):
    return sign * (np.arange(SIDE)[:, None] < SIDE // 2) * np.ones((SIDE, SIDE))


def test_deletion_of_what_counts_falls_at_once_and_of_what_does_not_falls_late():
    """From 1 to 0 over the first half, area 1/4; over the second half, area 3/4; in no order, 1/2."""
    assert faith.deletion(lit, WHITE, BLACK, upper(1)) == pytest.approx(0.25)
    assert faith.deletion(lit, WHITE, BLACK, upper(-1)) == pytest.approx(0.75)
    noise_SS = np.random.default_rng(0).random((SIDE, SIDE))
    assert faith.deletion(lit, WHITE, BLACK, noise_SS) == pytest.approx(0.5, abs=0.1)


def test_insertion_is_the_other_way_round():
    assert faith.insertion(lit, WHITE, BLACK, upper(1)) == pytest.approx(0.75)
    assert faith.insertion(lit, WHITE, BLACK, upper(-1)) == pytest.approx(0.25)


@given(heat=MAPS, steps=st.integers(1, 9))
def test_stages_lead_from_the_image_to_its_stand_in_a_pixel_never_coming_back(heat, steps):
    image, other = np.zeros((6, 6, 3), np.uint8), np.full((6, 6, 3), 9, np.uint8)
    made = faith.stages(image, other, heat, steps)
    np.testing.assert_array_equal(made[0], image)
    np.testing.assert_array_equal(made[-1], other)
    gone = made[..., 0] == 9
    assert (gone[1:] >= gone[:-1]).all()
    for now in gone:
        assert not now.any() or now.all() or heat[now].min() >= heat[~now].max()


@given(p=hnp.arrays(np.float64, st.integers(2, 20), elements=st.floats(0, 1)))
def test_an_area_lies_between_the_least_and_the_most_and_is_that_of_numpy(p):
    assert p.min() - 1e-12 <= faith.area(p) <= p.max() + 1e-12
    assert faith.area(p) == pytest.approx(np.trapezoid(p, np.linspace(0, 1, len(p))))


def test_mass_inside_is_all_none_or_the_share_of_the_area():
    mask = np.zeros((8, 8), dtype=bool)
    mask[:2] = True
    assert faith.mass_inside(mask * 3.0, mask) == 1
    assert faith.mass_inside(~mask * 3.0, mask) == 0
    assert faith.mass_inside(np.ones((8, 8)), mask) == pytest.approx(mask.mean())
    assert faith.mass_inside(np.where(mask, 1.0, -100.0), mask) == 1
    assert np.isnan(faith.mass_inside(-np.ones((8, 8)), mask))


@given(one=MAPS, other=MAPS)
def test_rank_correlation_is_that_of_pandas(one, other):
    ours = faith.rank_correlation(one, other)
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        assert np.isnan(ours)
        return
    ranks = [pd.Series(each.ravel()).rank() for each in (one, other)]
    assert ours == pytest.approx(ranks[0].corr(ranks[1]), abs=1e-9)
    assert faith.rank_correlation(one, np.exp(one)) == pytest.approx(1)
    assert faith.rank_correlation(one, -one) == pytest.approx(-1)


def test_the_gaussian_is_a_bell_in_the_middle_of_sum_one():
    bell_SS = faith.gaussian(33)
    assert bell_SS.sum() == pytest.approx(1)
    assert np.unravel_index(bell_SS.argmax(), bell_SS.shape) == (16, 16)
    np.testing.assert_allclose(bell_SS, bell_SS.T[::-1, ::-1])


def test_random_cells_are_blocks_and_the_seed_draws_them():
    cells_SS = faith.random_cells(12, 3, np.random.default_rng(5))
    assert len(np.unique(cells_SS)) == 9
    assert (cells_SS[:4, :4] == cells_SS[0, 0]).all()
    np.testing.assert_array_equal(cells_SS, faith.random_cells(12, 3, np.random.default_rng(5)))
