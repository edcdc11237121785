from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dermlens.evaluation.intervals import clopper_pearson, effective_size, share


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([0.9, 0.95, 0.99]))
def test_one_image_a_lesion_is_clopper_and_pearson(right, wrong, level):
    """Against scipy's exact interval of the binomial test."""
    if right + wrong < 2:
        return
    right_N = np.array([True] * right + [False] * wrong)
    found = share(right_N, np.arange(len(right_N)), level=level)
    exact = stats.binomtest(right, right + wrong).proportion_ci(level, method="exact")
    assert (found["low"], found["high"]) == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_images_that_are_alike_count_once():
    """Lesions of three equal images each: as many independent images as lesions, and t of as many."""
    right_L = np.array([True] * 15 + [False] * 5)
    size = effective_size(np.repeat(right_L, 3), np.repeat(np.arange(20), 3), level=0.95)
    t = stats.t.ppf(0.975, 59) / stats.t.ppf(0.975, 19)
    assert size == pytest.approx(60 / (3 * 59 / 57) * t**2)  # deff is 3 but for the two n − 1
    assert size < 20


def test_lesions_of_unequal_size():
    """As R's `survey::svyciprop(method = "beta")` reckons, with deff by n − 1 in place of n."""
    right_N = np.array([1, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1, 0], dtype=bool)
    lesion_N = np.array([0, 0, 0, 1, 2, 2, 2, 3, 3, 4, 5, 5])
    p, n, lesions = right_N.mean(), 12, 6
    totals = [(right_N[lesion_N == k] - p).sum() for k in range(6)]
    variance = lesions / (lesions - 1) * sum(total**2 for total in totals) / n**2
    deff = max(1.0, variance * (n - 1) / (p * (1 - p)))
    size = n / deff * (stats.t.ppf(0.025, n - 1) / stats.t.ppf(0.025, lesions - 1)) ** 2
    found = share(right_N, lesion_N, level=0.95)
    assert found["low"] == pytest.approx(stats.beta.ppf(0.025, p * size, (1 - p) * size + 1))
    assert found["high"] == pytest.approx(stats.beta.ppf(0.975, p * size + 1, (1 - p) * size))


def test_all_right_is_not_certain():
    """Twelve of twelve lesions: 1 − 0.025^(1/12), whatever number of images they have."""
    found = share(np.ones(24, dtype=bool), np.repeat(np.arange(12), 2), level=0.95)
    assert found["low"] == pytest.approx(0.025 ** (1 / 12))
    assert found["high"] == 1.0


def test_no_image_has_no_share():
    assert share(np.zeros(0, dtype=bool), np.zeros(0), level=0.95) == {
        "value": None,
        "low": None,
        "high": None,
    }


def test_few_lesions_are_covered():
    """Twelve lesions of one to three alike images, recall 0.8: the truth is held 95 times in a hundred."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(1000):
        images_L = rng.integers(1, 4, 12)
        right_N = np.repeat(rng.random(12) < 0.8, images_L)
        found = share(right_N, np.repeat(np.arange(12), images_L), level=0.95)
        held += found["low"] <= 0.8 <= found["high"]
    assert held / 1000 >= 0.95


@pytest.mark.parametrize(("value", "size"), [(0.0, 3.5), (1.0, 3.5), (0.3, 17.2)])
def test_ends_stay_shares(value, size):
    low, high = clopper_pearson(value, size, level=0.95)
    assert 0 <= low <= value <= high <= 1
