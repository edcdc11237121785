from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from dermlens.calibration.out_of_distribution import fit_ood
from dermlens.calibration.probabilities import Labelled
from dermlens.predict.decision import ood_scores
from dermlens.studies import out_of_distribution
from dermlens.studies.out_of_distribution import out_of_distribution_table, write_photographs


def draw(images: int, seed: int, away: float = 0.0) -> Labelled:
    rng = np.random.default_rng(seed)
    target_N = rng.integers(0, 3, images)
    x_ND = 2 * np.eye(3, 6)[target_N] + rng.normal(size=(images, 6)) + away
    return Labelled(x_ND[:, :3], x_ND.astype(np.float32), target_N, np.arange(images) // 2)


def test_auroc_is_scikit_learns(monkeypatch):
    monkeypatch.setattr(out_of_distribution, "REPLICATES", 50)
    train, calibration, familiar = (draw(300, seed) for seed in range(3))
    sets = {"near": draw(80, 3, away=1.0), "far": draw(60, 4, away=6.0)}
    table = out_of_distribution_table(train, calibration, familiar, sets).set_index(["set", "score"])
    assert len(table) == 6
    for kind in ("energy", "mahalanobis", "knn"):
        ood, arrays = fit_ood(kind, train, calibration)
        score = {
            name: ood_scores(kind, of.logits_NC, of.features_ND, arrays, ood.neighbours)
            for name, of in (sets | {"familiar": familiar}).items()
        }
        for name in sets:
            truth = np.repeat([0, 1], [300, len(score[name])])
            expected = roc_auc_score(truth, np.concatenate([score["familiar"], score[name]]))
            row = table.loc[(name, kind)]
            assert row["auroc"] == pytest.approx(expected)
            assert row["flagged"] == pytest.approx((score[name] > ood.threshold).mean())
            assert row["images"] == len(score[name])
            assert row["familiar_flagged"] < 0.12
    assert table.loc[("far", "mahalanobis"), "auroc"] > 0.99
    near = table.loc[("near", "mahalanobis")]
    assert near["low"] < near["auroc"] < near["high"] < 0.99


@pytest.mark.parametrize("installed", [True, False], ids=["as it is", "without scikit-image"])
def test_photographs_are_cut_into_pieces(tmp_path, monkeypatch, installed):
    if not installed:
        monkeypatch.setattr(out_of_distribution.importlib.util, "find_spec", lambda name: None)
    table = write_photographs(tmp_path / "photographs", pieces=3)
    assert len(table) == 3 * table["lesion_id"].nunique() >= 6
    assert table["image_id"].is_unique
    for path in table["path"]:
        with Image.open(path) as piece:
            assert piece.mode == "RGB"
            assert piece.size[0] == piece.size[1] > 50
    again = write_photographs(tmp_path / "again", pieces=3)
    assert (tmp_path / "again" / f"{again['image_id'][0]}.png").read_bytes() == (
        tmp_path / "photographs" / f"{table['image_id'][0]}.png"
    ).read_bytes()
