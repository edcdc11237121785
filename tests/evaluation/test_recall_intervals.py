from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from dermlens.evaluation.intervals import bca, draw_lesions, mean_recall, recall, share


def of_strata(*right, axis=-1):
    """Mean over samples of each sample's mean, as `scipy.stats.bootstrap` calls it."""
    return np.mean([part.mean(axis=axis) for part in right], axis=0)


def test_bca_is_that_of_scipy():
    """Three strata of 9, 40 and 300, on scipy's own draws; scipy's acceleration is the stratified one too."""
    rng = np.random.default_rng(0)
    samples = [(rng.random(n) < p).astype(float) for n, p in ((9, 0.8), (40, 0.6), (300, 0.85))]
    theirs = stats.bootstrap(
        samples, of_strata, n_resamples=2000, method="BCa", vectorized=True, rng=np.random.default_rng(1)
    )
    left_out, stratum = [], []
    for place, sample in enumerate(samples):
        for row in range(len(sample)):
            parts = [np.delete(s, row) if k == place else s for k, s in enumerate(samples)]
            left_out.append(float(of_strata(*parts)))
            stratum.append(place)
    low, high = bca(
        float(of_strata(*samples)),
        theirs.bootstrap_distribution,
        np.array(left_out),
        np.array(stratum),
        level=0.95,
    )
    assert low == pytest.approx(theirs.confidence_interval.low, abs=1e-9)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=1e-9)


def drawn(lesions=60, *, seed=0, replicates=400):
    rng = np.random.default_rng(seed)
    lesion_N = np.repeat(np.arange(lesions), rng.integers(1, 4, lesions))
    target_N = (np.arange(lesions) % 3)[lesion_N]
    named_N = np.where(rng.random(len(target_N)) < 0.7, target_N, (target_N + 1) % 3)
    return target_N, named_N, draw_lesions(lesion_N, target_N, replicates=replicates, seed=0)


def test_the_value_is_scikit_learns():
    target_N, named_N, resamples = drawn()
    found = mean_recall(target_N, named_N, 3, resamples, level=0.95)
    assert found["value"] == pytest.approx(balanced_accuracy_score(target_N, named_N))
    assert found["low"] < found["value"] < found["high"]


def test_images_outside_do_not_count():
    target_N, named_N, resamples = drawn()
    inside_N = np.arange(len(target_N)) % 4 > 0
    found = mean_recall(target_N, named_N, 3, resamples, level=0.95, inside_N=inside_N)
    assert found["value"] == pytest.approx(balanced_accuracy_score(target_N[inside_N], named_N[inside_N]))


def test_recall_of_a_class_is_a_share_of_its_images():
    target_N, named_N, resamples = drawn()
    of_class = target_N == 1
    assert recall(target_N, named_N, 1, resamples, level=0.95) == share(
        named_N[of_class] == 1, resamples.lesion[of_class], level=0.95
    )


def test_without_draws_there_is_no_interval():
    target_N, named_N, resamples = drawn(replicates=0)
    for found in (
        mean_recall(target_N, named_N, 3, resamples, level=0.95),
        recall(target_N, named_N, 0, resamples, level=0.95),
    ):
        assert found["value"] is not None
        assert found["low"] is found["high"] is None


def test_what_does_not_vary_has_no_interval():
    target_N, _, resamples = drawn()
    found = mean_recall(target_N, target_N, 3, resamples, level=0.95)
    assert found == {"value": 1.0, "low": None, "high": None}


def test_the_mean_of_small_classes_is_covered():
    """True recall 0.8, 0.7 and 0.85 of 17, 21 and 200 lesions: held 92 times in a hundred at least."""
    rng = np.random.default_rng(0)
    truth = np.array([0.8, 0.7, 0.85])
    target_N = np.repeat([0, 1, 2], [17, 21, 200])
    held = 0
    for _ in range(400):
        named_N = np.where(rng.random(len(target_N)) < truth[target_N], target_N, (target_N + 1) % 3)
        resamples = draw_lesions(np.arange(len(target_N)), target_N, replicates=400, seed=0)
        found = mean_recall(target_N, named_N, 3, resamples, level=0.95)
        held += found["low"] <= truth.mean() <= found["high"]
    assert held / 400 >= 0.92
