"""Scores by hand, against scikit-learn and SciPy; a planted outlier; the table from what is there."""

from __future__ import annotations

import gzip
from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score, roc_auc_score

from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.sections import EvaluationConfig
from related import work
from related.classical import FeatureRecipe
from related.report import write_report
from related.unseen import (
    METHODS,
    SCORES,
    detection,
    mahalanobis,
    publish_unseen,
    strangeness,
    unseen_table,
    write_unseen_table,
)
from related.work import Worker


@pytest.fixture(scope="module")
def scores():
    """Two classes that train, a third that lies elsewhere at both stages and does not."""
    rng = np.random.default_rng(0)
    target_N = np.repeat([0, 1, 2], 40)
    stages = [rng.normal(size=(120, 3)) + 6 * np.eye(3)[target_N] for _ in range(2)]
    trains_N = (np.arange(120) % 2 == 0) & (target_N < 2)
    found = strangeness(stages, trains_N, target_N, ~trains_N)
    frame = pd.DataFrame({"image_id": [f"i{n:03}" for n in np.flatnonzero(~trains_N)], "fold": 0})
    frame = frame.assign(lesion_id=frame["image_id"], left_out="df", **found)
    return frame.assign(target=np.array(["nv", "mel", "df"])[target_N[~trains_N]])


def test_every_method_but_the_head_finds_what_lies_elsewhere(scores):
    """The head alone cannot: what is far from its border it calls sure."""
    strange_N = (scores["target"] == "df").to_numpy()
    for method in ("forest", "mahalanobis", "nearest"):
        assert detection(strange_N, scores[method].to_numpy())["auroc"] > 0.9, method
    assert np.isfinite(scores[list(METHODS)].to_numpy()).all()


def test_detection_is_scikit_learns_and_the_rate_is_by_hand():
    rng = np.random.default_rng(1)
    familiar_N, strange_M = rng.normal(size=50).round(1), rng.normal(1, 1, size=40).round(1)
    truth, score = np.repeat([False, True], [50, 40]), np.concatenate([familiar_N, strange_M])
    found = detection(truth, score)
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, score))
    assert found["aupr"] == pytest.approx(average_precision_score(truth, score))
    flagged = [t for t in np.unique(score) if (strange_M >= t).mean() >= 0.95]
    assert found["fpr95"] == pytest.approx((familiar_N >= max(flagged)).mean())


def test_a_weight_counts_as_so_many_copies():
    rng = np.random.default_rng(2)
    truth, score, weight = rng.random(60) < 0.4, rng.normal(size=60).round(1), rng.integers(0, 4, 60)
    again = np.repeat(np.arange(60), weight)
    ours, theirs = detection(truth, score, weight[None].astype(float)), detection(truth[again], score[again])
    for measure, value in theirs.items():
        assert ours[measure][0] == pytest.approx(float(value)), measure


def test_mahalanobis_is_scipys_of_the_nearest_class():
    rng = np.random.default_rng(3)
    train_NF, target_N = rng.normal(size=(80, 3)) * [1, 2, 3], np.repeat([0, 4], 40)
    scored_MF = rng.normal(size=(9, 3))
    means = np.stack([train_NF[target_N == one].mean(axis=0) for one in (0, 4)])
    left = np.concatenate([train_NF[target_N == one] - mean for one, mean in zip((0, 4), means, strict=True)])
    covariance = left.T @ left / 80
    covariance += 1e-3 * np.trace(covariance) / 3 * np.eye(3)
    theirs = cdist(scored_MF, means, "mahalanobis", VI=np.linalg.inv(covariance)) ** 2
    np.testing.assert_allclose(mahalanobis(train_NF, target_N, scored_MF), theirs.min(axis=1))


def test_the_table_is_computed_again_from_what_is_published(scores, tmp_path):
    config = EvaluationConfig(bootstrap=30)
    publish_unseen(scores, tmp_path)
    first = write_unseen_table(tmp_path, config)
    before = (tmp_path / "table.csv").read_bytes()
    write_unseen_table(tmp_path, config)
    assert (tmp_path / "table.csv").read_bytes() == before
    direct = unseen_table(scores, config)
    assert first["value"].tolist() == pytest.approx(direct["value"].tolist(), abs=1e-9)
    assert set(first["method"]) == set(METHODS)
    differ = first.dropna(subset=["low"])  # of a perfect score all draws are one
    assert len(differ) >= 6
    assert (differ["low"] <= differ["value"]).all()
    assert first["strange"].unique().tolist() == [40]


def test_damaged_scores_are_refused_by_name(tmp_path):
    for content, why in ((b"no archive", "cannot be read"), (gzip.compress(b"image_id\na\n"), "column")):
        (tmp_path / SCORES).write_bytes(content)
        with pytest.raises(UserError, match=rf"{SCORES}.*{why}"):
            write_unseen_table(tmp_path, EvaluationConfig(bootstrap=0))


def test_the_folds_are_scored_by_what_did_not_see_the_class(study, site_in, tmp_path, monkeypatch):
    """On the tiny data, from random weights: every image of the folds once for each class left out."""
    own = partial(FeatureRecipe, weights="none", cached=32)
    monkeypatch.setattr(work, "FeatureRecipe", own)
    monkeypatch.setattr(work, "LEFT_OUT", ("df",))
    seen = []

    def spy(stages, trains_N, target_N, scored_N):
        seen.append(set(target_N[trains_N]))
        assert not (trains_N & scored_N).any()
        return dict.fromkeys(METHODS, stages[-1][scored_N][:, 0])

    monkeypatch.setattr(work, "strangeness", spy)
    worker = Worker(study, site_in(tmp_path / "out"), say=lambda _: None)
    *_, found = worker.unseen()
    assert len(seen) == study.folds
    assert all(CLASSES.index("df") not in classes for classes in seen)
    assert not found["image_id"].duplicated().any()
    assert set(found["fold"]) == {0, 1}
    results = tmp_path / "results"
    publish_unseen(found, results / "unseen")
    page = write_report(study, results, EvaluationConfig(bootstrap=10)).read_text(encoding="utf-8")
    assert "| df (" in page.partition("## A class that was left out")[2]
