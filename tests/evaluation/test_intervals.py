from __future__ import annotations

import numpy as np
import pytest

from dermlens import metrics
from dermlens.evaluation.intervals import draw_lesions, estimate, nest


def mean_of(value_N):
    return lambda weights: {("mean",): metrics.weighted_mean(value_N, weights)}


def test_a_resample_has_every_class_as_often_as_the_table():
    stratum_N = np.array([0] * 5 + [1] * 90 + [2])
    resamples = draw_lesions(np.arange(96), stratum_N, replicates=200, seed=0)
    weights_RN = np.concatenate(list(resamples.blocks()))
    assert weights_RN.shape == (200, 96)
    for stratum, images in ((0, 5), (1, 90), (2, 1)):
        assert (weights_RN[:, stratum_N == stratum].sum(axis=1) == images).all()
    assert len(np.unique(weights_RN[:, :5], axis=0)) > 50


def test_images_of_a_lesion_are_drawn_together():
    lesion_N = np.array(["b", "a", "b", "c", "a", "b"])
    resamples = draw_lesions(lesion_N, np.zeros(6, dtype=int), replicates=50, seed=1)
    for weights_BN in resamples.blocks():
        assert (weights_BN[:, [0, 0]] == weights_BN[:, [2, 5]]).all()
        assert (weights_BN[:, 1] == weights_BN[:, 4]).all()
        assert (weights_BN[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_seed_decides():
    draw = [
        draw_lesions(np.arange(40), np.zeros(40, dtype=int), replicates=20, seed=seed).counts
        for seed in (0, 0, 1)
    ]
    assert (draw[0] == draw[1]).all()
    assert not (draw[0] == draw[2]).all()


def test_percentiles_of_a_mean_follow_the_normal_law():
    """For a plain mean of many lesions the bootstrap must give mean ± 1.96 s/√n."""
    value_N = np.random.default_rng(0).normal(size=400)
    resamples = draw_lesions(np.arange(400), np.zeros(400, dtype=int), replicates=4000, seed=0)
    found = estimate(mean_of(value_N), resamples, level=0.95)[("mean",)]
    half = 1.96 * value_N.std() / 20
    assert found["value"] == pytest.approx(value_N.mean())
    assert found["low"] == pytest.approx(value_N.mean() - half, abs=0.1 * half)
    assert found["high"] == pytest.approx(value_N.mean() + half, abs=0.1 * half)


def coverage(lesion_of_image, *, tables=300):
    """How often the 95 % interval of an accuracy of 0.8 holds 0.8; both images of a lesion are alike."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(tables):
        right_N = np.repeat(rng.random(60) < 0.8, 2)
        lesion_N = lesion_of_image(np.arange(120))
        resamples = draw_lesions(lesion_N, np.zeros(120, dtype=int), replicates=300, seed=0)
        found = estimate(mean_of(right_N), resamples, level=0.95)[("mean",)]
        held += found["low"] <= 0.8 <= found["high"]
    return held / tables


def test_intervals_over_lesions_cover_and_over_images_do_not():
    assert coverage(lambda image: image // 2) == pytest.approx(0.93, abs=0.04)
    assert coverage(lambda image: image) < 0.88


def test_undefined_is_null():
    """Undefined on the table, undefined in too many resamples, and no resamples at all."""
    resamples = draw_lesions(np.arange(4), np.zeros(4, dtype=int), replicates=100, seed=0)

    def statistic(weights):
        first = 1.0 if weights is None else weights[:, 0]
        value = np.where(np.asarray(first) > 0, 0.5, np.nan)
        return {("never",): value * np.nan, ("sometimes",): value, ("always",): np.nan_to_num(value)}

    found = estimate(statistic, resamples, level=0.9)
    assert found[("never",)] == {"value": None, "low": None, "high": None}
    assert found[("sometimes",)] == {"value": 0.5, "low": None, "high": None}
    assert found[("always",)] == {"value": 0.5, "low": 0.0, "high": 0.5}
    without = draw_lesions(np.arange(4), np.zeros(4, dtype=int), replicates=0, seed=0)
    assert estimate(statistic, without, level=0.9)[("always",)] == {"value": 0.5, "low": None, "high": None}


def test_resamples_that_agree_give_no_interval():
    """Twelve of twelve right is not known to be 1 exactly."""
    resamples = draw_lesions(np.arange(12), np.zeros(12, dtype=int), replicates=50, seed=0)
    found = estimate(mean_of(np.ones(12)), resamples, level=0.95)
    assert found[("mean",)] == {"value": 1.0, "low": None, "high": None}


def test_nest():
    assert nest({("a", "b"): 1, ("a", "c"): 2, ("d",): 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
