"""The deep isolation forest against scikit-learn's own, a planted outlier, and the stages of a network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from related.isolation import DeepIsolationForest, stage_features


@pytest.fixture
def stages():
    """Two classes, two stages: the classes lie apart at the second."""
    rng = np.random.default_rng(0)
    target_N = np.repeat([0, 1], 60)
    return [rng.normal(size=(120, 3)), rng.normal(size=(120, 4)) + 8 * target_N[:, None]], target_N


def test_one_stage_and_class_is_scikit_learns(stages):
    [first, _], target_N = stages
    ours = DeepIsolationForest(trees=20, seed=3).fit([first], 0 * target_N).scores([first])
    theirs = IsolationForest(n_estimators=20, max_samples=120, random_state=3).fit(first)
    np.testing.assert_allclose(ours, -theirs.score_samples(first))
    assert ((ours > 0) & (ours < 1)).all()


def test_the_least_of_the_classes_and_the_mean_of_the_stages(stages):
    features, target_N = stages
    forest = DeepIsolationForest(trees=10).fit(features, target_N)
    by_hand = np.mean(
        [
            np.minimum(-a.score_samples(x), -b.score_samples(x))
            for (a, b), x in zip(forest.forests, features, strict=True)
        ],
        axis=0,
    )
    np.testing.assert_allclose(forest.scores(features), by_hand)


def test_what_lies_between_the_classes_is_strange(stages):
    """One forest of all classes would call the middle of two clusters ordinary; one a class does not."""
    features, target_N = stages
    forest = DeepIsolationForest().fit(features, target_N)
    between = [np.zeros((20, 3)), np.full((20, 4), 4.0)]
    score = np.concatenate([forest.scores(features), forest.scores(between)])
    assert roc_auc_score(np.repeat([0, 1], [120, 20]), score) > 0.9


def test_features_are_of_every_stage_and_the_last_is_what_the_head_sees():
    config = ModelConfig(backbone="mobilenet_v3_small", attention="none", pool="gap", metadata="none")
    model = build_classifier(config, num_classes=3, meta_width=0, size=64).eval()
    x_BCHW = torch.rand(2, 3, 64, 64) * 255
    found = stage_features(model, x_BCHW)
    assert [one.shape[1] for one in found][-2:] == [96, 576]
    assert len(found) >= 5
    with torch.inference_mode():
        last = model.backbone(model.normalize(x_BCHW)).mean(dim=(2, 3)).numpy()
    np.testing.assert_allclose(found[-1], last, rtol=1e-4, atol=1e-5)
