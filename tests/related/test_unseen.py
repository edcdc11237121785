"""Scores by hand, against scikit-learn and SciPy; a planted outlier; the table from what is there."""

from __future__ import annotations

import gzip
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig
from related import unseen_networks
from related.classical import FeatureRecipe
from related.report import write_report
from related.study import load_study
from related.unseen import (
    METHODS,
    SCORES,
    TRAINED_METHODS,
    UNSEEN,
    UNSEEN_TRAINED,
    detection,
    mahalanobis,
    ood_scores,
    publish_unseen,
    unseen_table,
    write_unseen_table,
)
from related.unseen_networks import frozen_scores, odin, train_all, trained_scores
from related.work import Worker


@pytest.fixture(scope="module")
def scores():
    """Two classes that train, a third that lies elsewhere at both stages and does not."""
    rng = np.random.default_rng(0)
    target_N = np.repeat([0, 1, 2], 40)
    stages = [rng.normal(size=(120, 3)) + 6 * np.eye(3)[target_N] for _ in range(2)]
    trains_N = (np.arange(120) % 2 == 0) & (target_N < 2)
    found = ood_scores(stages, trains_N, target_N, ~trains_N)
    frame = pd.DataFrame({"image_id": [f"i{n:03}" for n in np.flatnonzero(~trains_N)], "fold": 0})
    frame = frame.assign(lesion_id=frame["image_id"], left_out="df", **found)
    return frame.assign(target=np.array(["nv", "mel", "df"])[target_N[~trains_N]])


def test_every_method_but_the_head_finds_what_lies_elsewhere(scores):
    """The head alone cannot: what is far from its border it calls sure."""
    unseen_N = (scores["target"] == "df").to_numpy()
    for method in ("forest", "mahalanobis", "nearest"):
        assert detection(unseen_N, scores[method].to_numpy())["auroc"] > 0.9, method
    assert np.isfinite(scores[list(METHODS)].to_numpy()).all()


def test_detection_is_scikit_learns_and_the_rate_is_by_hand():
    rng = np.random.default_rng(1)
    seen_N, unseen_M = rng.normal(size=50).round(1), rng.normal(1, 1, size=40).round(1)
    truth, score = np.repeat([False, True], [50, 40]), np.concatenate([seen_N, unseen_M])
    found = detection(truth, score)
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, score))
    assert found["aupr"] == pytest.approx(average_precision_score(truth, score))
    flagged = [t for t in np.unique(score) if (unseen_M >= t).mean() >= 0.95]
    assert found["fpr95"] == pytest.approx((seen_N >= max(flagged)).mean())


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
    assert first["unseen"].unique().tolist() == [40]


def test_damaged_scores_are_refused_by_name(tmp_path):
    for content, why in ((b"no archive", "cannot be read"), (gzip.compress(b"image_id\na\n"), "column")):
        (tmp_path / SCORES).write_bytes(content)
        with pytest.raises(UserError, match=rf"{SCORES}.*{why}"):
            write_unseen_table(tmp_path, EvaluationConfig(bootstrap=0))


def test_the_folds_are_scored_by_what_did_not_see_the_class(study, site_in, tmp_path, monkeypatch):
    """On the tiny data, from random weights: every image of the folds once for each class left out."""
    own = partial(FeatureRecipe, weights="none", cached=32)
    monkeypatch.setattr(unseen_networks, "FeatureRecipe", own)
    monkeypatch.setattr(unseen_networks, "LEFT_OUT", ("df",))
    seen = []

    def spy(stages, trains_N, target_N, scored_N):
        seen.append(set(target_N[trains_N]))
        assert not (trains_N & scored_N).any()
        return dict.fromkeys(METHODS, stages[-1][scored_N][:, 0])

    monkeypatch.setattr(unseen_networks, "ood_scores", spy)
    worker = Worker(study, site_in(tmp_path / "out"), say=lambda _: None)
    *_, found = frozen_scores(worker)
    assert len(seen) == study.folds
    assert all(CLASSES.index("df") not in classes for classes in seen)
    assert not found["image_id"].duplicated().any()
    assert set(found["fold"]) == {0, 1}
    results = tmp_path / "results"
    publish_unseen(found, results / UNSEEN)
    page = write_report(study, results, EvaluationConfig(bootstrap=10)).read_text(encoding="utf-8")
    assert "| df (" in page.partition("## A class that was left out")[2]


def test_networks_are_trained_without_the_class_and_once(study, site_in, tmp_path, monkeypatch):
    """On the tiny data: the class takes no part in a training, and all of a fold's images are scored."""
    monkeypatch.setattr(unseen_networks, "LEFT_OUT", ("bkl",))
    monkeypatch.setattr(unseen_networks, "rate_of", lambda *_: 1e-3)
    worker = Worker(study, site_in(tmp_path / "out"), say=lambda _: None)
    with pytest.raises(UserError, match="no training"):
        trained_scores(worker)
    with pytest.raises(UserError, match="bkl/fold-7"):
        train_all(worker, ["bkl/fold-7"])
    train_all(worker, ["bkl/fold-1"])
    run = Run(worker.site.out / "unseen" / "bkl" / "fold-1")
    weights = run.model_file.read_bytes()
    train_all(worker)
    assert run.model_file.read_bytes() == weights
    table, split = worker.drawn("folds", 1)
    dx = table.set_index("image_id")["dx"]
    trained = dx.loc[run.split().ids("train")]
    assert sorted(trained.index) == [image for image in split.ids("train") if dx[image] != "bkl"]
    assert run.split().ids("selection") == split.ids("selection")
    found = trained_scores(worker)
    assert not found["image_id"].duplicated().any()
    held = {image for fold in (0, 1) for image in worker.drawn("folds", fold)[1].ids("selection")}
    assert set(found["image_id"]) == held
    assert np.isfinite(found[list(TRAINED_METHODS)].to_numpy()).all()
    publish_unseen(found, tmp_path / "results" / UNSEEN_TRAINED)
    page = write_report(study, tmp_path / "results", EvaluationConfig(bootstrap=10)).read_text("utf-8")
    assert "| odin |" in page.partition("## A class that was left out")[2]


def test_it_is_the_baseline_that_is_trained_without_a_class():
    assert load_study().baseline.id == "baseline"


def test_odin_steps_towards_the_class_that_is_named():
    """Against the formula, its slope by finite differences, in double precision."""
    torch.manual_seed(0)

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(12, 4).double()

        def forward(self, x_BCHW, meta):
            return self.linear(x_BCHW.flatten(1).sin()), {}

    model = nn.ModuleDict({"normalize": nn.Identity(), "backbone": nn.Identity(), "head": Head()})
    x_BCHW, known = torch.rand(3, 3, 2, 2).double() * 3, [0, 2, 3]

    def log_p(x):
        logits = model["head"](x, None)[0][:, known] / 1000
        return logits.log_softmax(dim=1).max(dim=1).values.detach().numpy()

    step = np.zeros((3, 12))
    for place in range(12):
        there = torch.zeros(12).double()
        there[place] = 1e-6
        there = there.view(1, 3, 2, 2)
        step[:, place] = np.sign(log_p(x_BCHW + there) - log_p(x_BCHW - there))
    moved = x_BCHW + 0.0014 * torch.from_numpy(step).view(3, 3, 2, 2)
    np.testing.assert_allclose(odin(model, x_BCHW, known), 1 - np.exp(log_p(moved)), rtol=0, atol=1e-12)
    assert (odin(model, x_BCHW, known) < 1 - np.exp(log_p(x_BCHW))).all()
