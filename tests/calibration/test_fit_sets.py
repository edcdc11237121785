from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.calibration.sets import fewest_lesions, fit_sets, lower_bound
from dermlens.predict.decision import log_softmax


@pytest.mark.parametrize(("alpha", "fewest"), [(0.1, 9), (0.05, 19), (0.2, 4), (0.5, 1)])
def test_fewest_lesions(alpha, fewest):
    assert fewest_lesions(alpha) == fewest
    assert lower_bound(np.arange(fewest, dtype=float), alpha) == 0.0
    assert lower_bound(np.arange(fewest - 1, dtype=float), alpha) == -math.inf


@given(st.integers(1, 300), st.sampled_from([0.05, 0.1, 0.2]))
def test_lower_bound_is_the_conformal_quantile(lesions, alpha):
    """As it is written: of scores of strangeness the ⌈(n + 1)(1 − α)⌉-th smallest."""
    score_L = np.random.default_rng(lesions).normal(size=lesions)
    rank = math.ceil((lesions + 1) * (1 - alpha) - 1e-9)
    expected = -math.inf if rank > lesions else -np.sort(-score_L)[rank - 1]
    assert lower_bound(score_L, alpha) == expected


def covered_by(sets, p_NC, target_N):
    return p_NC[np.arange(len(target_N)), target_N] >= np.array(sets.thresholds)[target_N]


@pytest.mark.parametrize("skill", [1.0, 6.0], ids=["calibrated", "overconfident"])
def test_every_class_is_covered_over_many_draws(world, skill):
    """The promise is on the average over calibration roles; it asks nothing of the probabilities."""
    fresh = world(4000, seed=99)
    p_new_NC = np.exp(log_softmax(skill * fresh.logits_NC))
    covered = []
    for seed in range(120):
        role = world(420, seed=seed, prefix=f"{seed}-")
        p_NC = np.exp(log_softmax(skill * role.logits_NC))
        sets = fit_sets(p_NC, role.target_N, role.lesion_N, tuple("abcdefg"))
        right_N = covered_by(sets, p_new_NC, fresh.target_N)
        own = [code not in sets.pooled for code in "abcdefg"]
        covered.append(
            [right_N[fresh.target_N == index].mean() if own[index] else np.nan for index in range(7)]
        )
    mean_C = np.nanmean(covered, axis=0)
    assert (mean_C >= 0.9 - 0.015).all()
    # a lesion counts by its worst image, so single images are covered somewhat more often, not much
    assert mean_C[5] <= 0.96


def test_the_promise_is_exact_for_single_images():
    """n = 19, α = 0.1: a threshold at the 2nd lowest of 19 covers 18/20 of new ones."""
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(4000):
        score = rng.random(20)
        sets = fit_sets(
            np.stack([score[:19], 1 - score[:19]], axis=1), np.zeros(19, dtype=int), np.arange(19), ("a", "b")
        )
        covered.append(score[19] >= sets.thresholds[0])
    assert np.mean(covered) == pytest.approx(0.9, abs=0.015)


def test_a_lesion_counts_by_its_worst_image():
    """Nine lesions, each with a good and a bad image: the threshold is the worst of the bad ones."""
    score = np.concatenate([np.full(9, 0.99), np.linspace(0.1, 0.5, 9)])
    sets = fit_sets(
        np.stack([score, 1 - score], axis=1), np.zeros(18, dtype=int), np.tile(np.arange(9), 2), ("a", "b")
    )
    assert sets.lesions == (9, 0)
    assert sets.thresholds[0] == pytest.approx(0.1)


def counted(counts):
    """One image a lesion; a lesion's score is its class plus its number, so that classes differ."""
    target_N = np.repeat(np.arange(len(counts)), counts)
    score_N = np.concatenate([0.1 * (1 + index) + 0.001 * np.arange(n) for index, n in enumerate(counts)])
    p_NC = np.repeat(score_N[:, None], len(counts), axis=1)
    return fit_sets(p_NC, target_N, np.arange(len(target_N)), tuple("abcde"[: len(counts)]))


def test_rare_classes_share_a_threshold_and_are_named():
    sets = counted([40, 5, 30, 6])
    assert (sets.pooled, sets.pool) == (("b", "d"), ("b", "d"))
    assert sets.thresholds[1] == sets.thresholds[3] == pytest.approx(0.2)  # lowest of 11: of class b
    assert sets.thresholds[0] == pytest.approx(0.1 + 0.001 * 3)


def test_a_pool_too_small_borrows_from_the_next_rarest_class():
    """Which keeps the threshold of its own lesions."""
    sets = counted([40, 3, 12])
    assert (sets.pooled, sets.pool) == (("b",), ("b", "c"))
    assert sets.thresholds[1] == pytest.approx(0.2)
    assert sets.thresholds[2] == pytest.approx(0.3)


def test_without_lesions_enough_in_all_every_class_is_in_every_set():
    sets = counted([3, 2])
    assert sets.thresholds == (0.0, 0.0)
    assert sets.pooled == ("a", "b")


def test_a_class_without_a_lesion_is_in_every_set():
    """The average over a pool that it has no part in promises it nothing."""
    rng = np.random.default_rng(0)
    p_NC = rng.dirichlet(np.ones(3), 60)
    target_N = np.repeat([0, 1], [4, 56])
    sets = fit_sets(p_NC, target_N, np.arange(60), ("a", "b", "c"))
    assert sets.pooled == ("a", "c")
    assert sets.thresholds[2] == 0.0
    assert sets.thresholds[0] > 0.0
