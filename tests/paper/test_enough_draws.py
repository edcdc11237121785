from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paper.contrasts import ALPHA, draw_enough, holm, settled


def normal_draws(effects):
    """Differences of given size in standard errors; their p-values are known exactly."""

    def draw(which, batch):
        rng = np.random.default_rng([7, batch])
        noise = {index: rng.normal(size=1000) for index in range(len(effects))}
        return [effects[index] + noise[index] for index in which]

    return draw


def test_a_clear_contrast_needs_one_batch_and_a_close_one_more():
    drawn = draw_enough(normal_draws([6.0, 2.1, 0.1]), 3, 3, batch=1000, most=100_000)
    assert len(drawn[0]) == len(drawn[2]) == 1000
    assert len(drawn[1]) > 1000


@pytest.mark.parametrize("effects", [(3.6, 3.1, 2.6), (2.45, 2.3, 0.5, 4.0), (2.9, 2.9, 2.9)])
def test_the_verdicts_are_those_of_the_exact_p_values(effects):
    drawn = draw_enough(normal_draws(effects), len(effects), 37, batch=1000, most=400_000)
    p_K = np.array([2 * min((one <= 0).mean(), (one >= 0).mean()) for one in drawn])
    exact_K = 2 * stats.norm.sf(np.abs(effects))
    assert ((holm(p_K, 37) < ALPHA) == (holm(exact_K, 37) < ALPHA)).all()


def test_ten_of_ten_thousand_settle_nothing_where_the_level_is_near():
    """p = 0.002 of 25 contrasts is 0.05: the case that once decided a claim."""
    assert not settled(np.array([10]), np.array([10_000]), 25).any()
    assert settled(np.array([300]), np.array([400_000]), 25)[0]
    assert settled(np.array([3000]), np.array([10_000]), 25)[0]


def test_it_ends():
    """A contrast that lies on the level is drawn to the end and no further."""
    on_level = float(stats.norm.isf(ALPHA / 2))
    (drawn,) = draw_enough(normal_draws([on_level]), 1, 1, batch=1000, most=5000)
    assert len(drawn) <= 5000
