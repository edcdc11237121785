from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from dermlens.calibration import out_of_distribution as fitting
from dermlens.calibration.out_of_distribution import fit_arrays, fit_ood, principal_directions
from dermlens.calibration.probabilities import Labelled
from dermlens.predict.decision import BLOCK, ood_scores

KINDS = ("energy", "mahalanobis", "knn")


def test_energy_is_scipys(world):
    role = world(50)
    score_N = ood_scores("energy", 400 * role.logits_NC, role.features_ND, {})
    np.testing.assert_allclose(score_N, -logsumexp(400 * role.logits_NC, axis=1))


def test_mahalanobis_is_scikit_learns(world):
    """Fewer features than directions are kept, so nothing is lost by the projection."""
    train, new = world(600, seed=1), world(BLOCK + 100, seed=2)
    arrays = fit_arrays("mahalanobis", train)
    means_CD = np.stack([train.features_ND[train.target_N == index].mean(axis=0) for index in range(7)])
    shared = EmpiricalCovariance(assume_centered=True).fit(train.features_ND - means_CD[train.target_N])
    expected_NC = np.stack([shared.mahalanobis(new.features_ND - mean_D) for mean_D in means_CD], axis=1)
    found_N = ood_scores("mahalanobis", new.logits_NC, new.features_ND, arrays)
    np.testing.assert_allclose(found_N, expected_NC.min(axis=1), rtol=1e-3)


def test_knn_is_scikit_learns(world):
    train, new = world(400, seed=3), world(60, seed=4)
    ours = ood_scores("knn", new.logits_NC, new.features_ND, fit_arrays("knn", train), 10)
    theirs = NearestNeighbors(n_neighbors=10).fit(normalize(train.features_ND))
    expected_N = theirs.kneighbors(normalize(new.features_ND))[0][:, -1]
    np.testing.assert_allclose(ours, expected_N, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_features_of_an_early_layer_change_no_score(world, kind):
    """They follow those of the last layer, which alone the score was fitted on."""
    train, new = world(200, seed=5), world(40, seed=6)
    arrays = fit_arrays(kind, train)
    longer_NF = np.concatenate([new.features_ND, np.full((40, 6), 1e3, np.float32)], axis=1)
    plain_N = ood_scores(kind, new.logits_NC, new.features_ND, arrays, 10)
    assert ood_scores(kind, new.logits_NC, longer_NF, arrays, 10).tolist() == plain_N.tolist()


def test_directions_are_pcas():
    rng = np.random.default_rng(0)
    x_ND = rng.normal(size=(300, 90)) @ rng.normal(size=(90, 90))
    ours = principal_directions(x_ND - x_ND.mean(axis=0))
    theirs = PCA(64, svd_solver="full").fit(x_ND).components_.T
    assert ours.shape == (90, 64)
    np.testing.assert_allclose(np.abs((ours * theirs).sum(axis=0)), 1, atol=1e-6)


def test_more_features_than_images_and_features_that_never_vary():
    rng = np.random.default_rng(0)
    x_ND = np.concatenate([rng.normal(size=(20, 50)), np.zeros((20, 30))], axis=1).astype(np.float32)
    role = Labelled(rng.normal(size=(20, 7)), x_ND, np.arange(20) % 7, np.arange(20))
    for kind in ("mahalanobis", "knn"):
        arrays = fit_arrays(kind, role)
        assert arrays["project_DK"].shape[1] <= 20
        assert np.isfinite(ood_scores(kind, role.logits_NC, x_ND, arrays, 3)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_outliers_score_higher_and_the_threshold_keeps_its_share(world, kind):
    train, new = world(800, seed=5), world(3000, seed=7)
    kept = []
    for seed in range(30):
        ood, arrays = fit_ood(kind, train, world(300, seed=100 + seed))
        score_N = ood_scores(kind, new.logits_NC, new.features_ND, arrays, ood.neighbours)
        kept.append((score_N <= ood.threshold).mean())
    assert 0.94 <= np.mean(kept) <= 0.985  # of images; a lesion counts by its strangest one
    if kind == "energy":  # the logits of this world hold an arbitrary constant
        return
    away_N = ood_scores(kind, new.logits_NC, -3 * new.features_ND, arrays, ood.neighbours)
    # knn sees directions alone, and the class means reach into many
    assert (away_N > ood.threshold).mean() > {"mahalanobis": 0.9, "knn": 0.12}[kind]


def test_with_few_lesions_the_farthest_is_in_distribution(world):
    few = world(8, seed=1)
    ood, arrays = fit_ood("mahalanobis", world(200), few)
    assert ood.threshold == ood_scores("mahalanobis", few.logits_NC, few.features_ND, arrays).max()


def test_the_bank_keeps_rare_classes_whole(world, monkeypatch):
    monkeypatch.setattr(fitting, "BANK", 100)
    train = world(900, seed=8)
    kept_N = fitting._spread(train.target_N, np.random.default_rng(0))
    assert len(kept_N) == len(set(kept_N)) == 100
    counts, held = (np.bincount(train.target_N[rows], minlength=7) for rows in (slice(None), kept_N))
    share = int(held.max())
    assert all(h == n if n < share else h >= share - 1 for h, n in zip(held, counts, strict=True))
    assert len(fit_arrays("knn", train)["points_MK"]) == 100
