from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import gmean
from sklearn.metrics import balanced_accuracy_score

from dermlens.data.predictions import read_predictions, write_predictions
from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.predict.decision import ANSWERED
from dermlens.sections import EvaluationConfig
from dermlens.studies.ensemble import ensemble, mean_of, soft_labels
from dermlens.studies.folds import read_out_of_fold, write_out_of_fold
from dermlens.training.losses import read_soft_labels

P = [f"p_{code}" for code in CLASSES]
CONFIG = EvaluationConfig(bootstrap=20)


@pytest.fixture
def crossfits(predictions, tmp_path):
    """Two cross-fits of the same images; the second in another order and in other folds."""
    folders = []
    for seed in (0, 1):
        folder = tmp_path / f"crossfit-{seed}"
        table = predictions(seed=seed)
        write_out_of_fold(folder / "predictions.csv", table if seed == 0 else table[::-1].assign(fold=0))
        folders.append(folder)
    return folders


def as_run(table, folder, **columns):
    write_predictions(folder / "predictions.csv", table.assign(**columns))
    return folder


def as_calibrated(table, folder):
    answers = dict.fromkeys(ANSWERED, "0.5") | {
        "diagnosis": "mel",
        "set": "mel",
        "uncertain": "no",
        "flagged": "no",
    }
    return as_run(table, folder, role="selection", **answers)


@pytest.mark.parametrize("mean", ["probabilities", "logs"])
def test_the_mean_is_that_of_numpy_and_scipy(mean, crossfits, predictions, tmp_path):
    facts = ensemble(crossfits, tmp_path / "out", mean=mean, config=CONFIG)
    both = [predictions(seed=seed)[P].to_numpy() for seed in (0, 1)]
    expected = np.mean(both, axis=0) if mean == "probabilities" else gmean(both, axis=0)
    expected = expected / expected.sum(axis=1, keepdims=True)
    found = read_out_of_fold(tmp_path / "out" / "predictions.csv")
    np.testing.assert_allclose(found[P], expected, rtol=1e-7)
    assert found["image_id"].tolist() == predictions()["image_id"].tolist()
    assert found["fold"].tolist() == predictions()["fold"].tolist()
    right = np.array(CLASSES)[expected.argmax(axis=1)] == predictions()["target"]
    accuracy = facts["roles"]["out_of_fold"]["decisions"]["argmax"]["accuracy"]
    assert accuracy["value"] == pytest.approx(right.mean())
    assert json.loads((tmp_path / "out" / "ensemble.json").read_text()) == facts


@given(
    p=arrays(np.float64, (3, 4, 5), elements=st.floats(0, 1)), mean=st.sampled_from(["probabilities", "logs"])
)
def test_a_mean_is_a_distribution_and_of_equals_it_is_them(p, mean):
    p_MNC = (p + 1e-3) / (p + 1e-3).sum(axis=2, keepdims=True)
    found = mean_of(p_MNC, mean)
    assert (found >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    np.testing.assert_allclose(mean_of(np.stack([p_MNC[0]] * 3), mean), p_MNC[0], rtol=1e-9)
    np.testing.assert_allclose(mean_of(p_MNC[::-1], mean), found)


def test_runs_are_averaged_role_by_role_and_a_sealed_test_is_left_out(predictions, tmp_path):
    table = predictions().drop(columns="fold")
    roles = np.array(["selection", "calibration", "test"])[np.arange(len(table)) // 2 % 3]
    runs = [as_run(predictions(seed=seed), tmp_path / str(seed), role=roles) for seed in (0, 1)]
    facts = ensemble(runs, tmp_path / "out", config=CONFIG)
    assert set(facts["roles"]) == {"selection", "calibration"}
    written = read_predictions(tmp_path / "out" / "predictions.csv")
    assert set(written["role"]) == {"selection", "calibration"}
    assert len(written) == (roles != "test").sum()


@pytest.mark.parametrize("mean", ["probabilities", "logs"])
def test_the_best_subset_is_the_best_of_all_on_selection_alone(mean, predictions, tmp_path):
    """The mean recall is scikit-learn's, the subsets are those of the bits of a number."""
    table = predictions().drop(columns="fold")
    roles = np.array(["selection", "calibration"])[np.arange(len(table)) // 2 // len(CLASSES) % 2]
    tables = [predictions(seed=seed, skill=skill) for seed, skill in ((0, 0.2), (1, 1.2), (2, 0.9), (3, 1.1))]
    runs = [as_run(one, tmp_path / str(place), role=roles) for place, one in enumerate(tables)]
    facts = ensemble(runs, tmp_path / "out", mean=mean, choose="exhaustive", config=CONFIG)
    chooses = roles == "selection"
    p_MNC = np.stack([read_predictions(run / "predictions.csv")[P].to_numpy() for run in runs])
    expected = {}
    for bits in range(1, 2 ** len(runs)):
        subset = [place for place in range(len(runs)) if bits >> place & 1]
        of = p_MNC[subset].mean(axis=0) if mean == "probabilities" else gmean(p_MNC[subset], axis=0)
        named = np.array(CLASSES)[of.argmax(axis=1)]
        name = " + ".join(str(runs[place]) for place in subset)
        expected[name] = balanced_accuracy_score(table["target"][chooses], named[chooses])
    found = pd.read_csv(tmp_path / "out" / "subsets.csv").set_index("members")
    assert found["mean_recall"].to_dict() == pytest.approx(expected)
    assert found["size"].to_dict() == {name: name.count(" + ") + 1 for name in expected}
    best = max(expected, key=expected.get)
    assert " + ".join(one["folder"] for one in facts["members"]) == best
    assert facts["chosen"]["of"] == list(map(str, runs))
    scored = facts["roles"]["selection"]["decisions"]["argmax"]["mean_recall"]["value"]
    assert scored == pytest.approx(expected[best])
    assert facts["chosen"]["mean_recall"] == pytest.approx(expected[best])


def test_of_equal_subsets_the_smallest_is_chosen(predictions, tmp_path):
    run = as_run(predictions(), tmp_path / "a", role="selection")
    facts = ensemble([run, run, run], tmp_path / "out", choose="exhaustive", config=CONFIG)
    assert len(facts["members"]) == 1
    assert len(set(pd.read_csv(tmp_path / "out" / "subsets.csv")["mean_recall"])) == 1


def test_nothing_is_chosen_without_a_selection_role_or_among_too_many(crossfits, predictions, tmp_path):
    only = as_run(predictions(), tmp_path / "only", role="calibration")
    for members in (crossfits, [only, only]):
        with pytest.raises(UserError, match="no selection role"):
            ensemble(members, tmp_path / "out", choose="exhaustive")
    run = as_run(predictions(), tmp_path / "run", role="selection")
    with pytest.raises(UserError, match=r"13 members.*8,191"):
        ensemble([run] * 13, tmp_path / "out", choose="exhaustive")
    assert not (tmp_path / "out").exists()


def test_an_ensemble_can_be_a_member(crossfits, tmp_path):
    ensemble(crossfits, tmp_path / "both", config=CONFIG)
    ensemble([tmp_path / "both", tmp_path / "both"], tmp_path / "again", config=CONFIG)
    first, again = (read_out_of_fold(tmp_path / name / "predictions.csv") for name in ("both", "again"))
    np.testing.assert_allclose(first[P], again[P], rtol=1e-8)


def test_soft_labels_are_what_training_reads(crossfits, predictions, tmp_path):
    soft_labels(crossfits, tmp_path / "soft.csv")
    images = predictions()["image_id"]
    read = read_soft_labels(tmp_path / "soft.csv", pd.Series([*images, "unknown"]), CLASSES)
    expected = (predictions(seed=0)[P].to_numpy() + predictions(seed=1)[P].to_numpy()) / 2
    np.testing.assert_allclose(read[:-1], expected, rtol=1e-5)
    assert read[-1].sum() == 0


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        (("imbalance.loss={kind: cross_entropy}", "imbalance.loss={kind: balanced_softmax}"), "loss"),
        (("imbalance.sampler={kind: images}", "imbalance.sampler={kind: power, exponent: 0.0}"), "sampler"),
        (("imbalance.weights=none", "imbalance.weights=new"), "weights"),
    ],
)
def test_teachers_for_different_priors_have_no_mean(settings, key, crossfits, recipe, tmp_path):
    for folder, setting in zip(crossfits, settings, strict=True):
        (folder / "fold-0").mkdir()
        recipe("imbalance.weights=none", setting).save(folder / "fold-0" / "recipe.yaml")
    with pytest.raises(UserError, match=rf"imbalance\.{key}"):
        soft_labels(crossfits, tmp_path / "soft.csv")
    ensemble(crossfits, tmp_path / "both", config=CONFIG)
    with pytest.raises(UserError, match=rf"both.*imbalance\.{key}"):
        soft_labels([tmp_path / "both"], tmp_path / "soft.csv")
    ensemble(crossfits[:1] * 2, tmp_path / "first", config=CONFIG)
    (crossfits[1] / "fold-0" / "recipe.yaml").rename(crossfits[1] / "recipe.yaml")  # where it is published
    with pytest.raises(UserError, match=rf"crossfit-1.*imbalance\.{key}"):
        soft_labels([tmp_path / "first", crossfits[1]], tmp_path / "soft.csv")
    assert not (tmp_path / "soft.csv").exists()


def test_calibrated_and_uncalibrated_probabilities_have_no_mean(predictions, tmp_path):
    table = predictions()
    plain = as_run(table, tmp_path / "plain", role="selection")
    calibrated = as_calibrated(table, tmp_path / "calibrated")
    for members in ([plain, calibrated], [calibrated, plain]):
        with pytest.raises(UserError, match="calibrated"):
            ensemble(members, tmp_path / "out")
    both = tmp_path / "both"
    assert ensemble([calibrated, calibrated], both, config=CONFIG)["calibrated"]
    with pytest.raises(UserError, match="calibrated"):
        ensemble([both, plain], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert ensemble([both, calibrated], tmp_path / "all", config=CONFIG)["calibrated"]
    assert not ensemble([plain, plain], tmp_path / "none", config=CONFIG)["calibrated"]


def test_refusals(crossfits, predictions, tmp_path):
    one = crossfits[0]
    with pytest.raises(UserError, match="two members"):
        ensemble([one], tmp_path / "out")
    with pytest.raises(UserError, match="not empty"):
        ensemble(crossfits, one)
    with pytest.raises(UserError, match=r"predictions\.csv"):
        ensemble([one, tmp_path / "nowhere"], tmp_path / "out")
    table = predictions()
    run = as_run(table, tmp_path / "run", role="selection")
    with pytest.raises(UserError, match="out of fold"):
        ensemble([one, run], tmp_path / "out")
    with pytest.raises(UserError, match="labels"):
        soft_labels([run], tmp_path / "soft.csv")
    other = as_run(table, tmp_path / "other", role="calibration")
    with pytest.raises(UserError, match=r"image_00000.*role"):
        ensemble([run, other], tmp_path / "out")
    wrong = as_run(table, tmp_path / "wrong", role="selection", target=["mel", *table["target"][1:]])
    with pytest.raises(UserError, match=r"image_00000.*diagnosis"):
        ensemble([run, wrong], tmp_path / "out")
    part = as_run(table[:-2], tmp_path / "part", role="selection")
    with pytest.raises(UserError, match="image_00298 and 1 others"):
        ensemble([run, part], tmp_path / "out")
    sealed = as_run(table, tmp_path / "sealed", role="test")
    with pytest.raises(UserError, match=r"test role.*sealed"):
        ensemble([sealed, sealed], tmp_path / "out")
    assert not (tmp_path / "out").exists()
