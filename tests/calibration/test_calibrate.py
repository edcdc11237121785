from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.calibration.decision import calibrate_run, run_outputs
from dermlens.data.predictions import write_predictions
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.errors import UserError
from dermlens.evaluation.evaluate import evaluate_run
from dermlens.evaluation.ledger import publish_run
from dermlens.predict.decision import ANSWERED, Kind, at_prior, log_softmax, scaled
from dermlens.recipe import Recipe, parse_recipe
from dermlens.report.card import write_card
from dermlens.runs import Run
from dermlens.studies.out_of_distribution import far_ood, write_photographs
from dermlens.training.fit import fit
from dermlens.training.predict import predict_table

SMALL = """
name: small
data: {size: 48, metadata: none}
split: {protocol: grouped, selection: 0.25, calibration: 0.25, test: 0.1}
model: {backbone: mobilenet_v3_small, pool: gap, heads: 2, metadata: none}
train: {epochs: 1, batch_size: 16}
evaluation: {bootstrap: 10}
"""


@pytest.fixture(scope="module")
def small() -> Recipe:
    return parse_recipe(SMALL, "small")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_synthetic(tmp_path_factory.mktemp("small") / "data", lesions=80, seed=0, size=(48, 64))


@pytest.fixture(scope="module")
def trained(small, pictures, cache, tmp_path_factory) -> Run:
    return fit(small, pictures, out=tmp_path_factory.mktemp("run") / "small", device="cpu", cache=cache)


@pytest.fixture
def run(trained, tmp_path) -> Run:
    return Run(shutil.copytree(trained.path, tmp_path / "small"))


@pytest.mark.parametrize("ood", ["mahalanobis", "energy"])
def test_a_run_gets_a_decision(run: Run, cache: Path, pictures: Path, ood: Kind):
    before = run.predictions()
    metrics_before = evaluate_run(run)
    document = calibrate_run(run, ood=ood, device="cpu", cache=cache)
    saved = run.model()
    assert saved.decision == document
    assert (run.path / "decision.npz").is_file() == (ood != "energy")
    assert not run.metrics_file.exists()  # of the model before
    after = run.predictions()
    assert set(ANSWERED) <= set(after.columns)
    assert sorted(after["image_id"]) == sorted(before["image_id"])
    # probabilities are those of the network, scaled, row by row
    outputs = run_outputs(run, saved, ["selection"], device="cpu", cache=cache)["selection"]
    of_role = after.set_index("image_id").loc[list(outputs.images)]
    p_NC = of_role[[f"p_{code}" for code in document.classes]].to_numpy()
    score_NC = scaled(outputs.labelled.logits_NC, document.scaling)
    np.testing.assert_allclose(p_NC, np.exp(at_prior(score_NC, document.prior)), atol=1e-8)
    unscaled_NC = before.set_index("image_id").loc[list(outputs.images), [f"p_{c}" for c in document.classes]]
    np.testing.assert_allclose(unscaled_NC, np.exp(log_softmax(outputs.labelled.logits_NC)), atol=1e-7)
    # and metrics follow
    metrics = evaluate_run(run)
    assert (metrics_before.decision, metrics.decision) == ("argmax", "calibrated")
    assert "answers" in metrics.roles["calibration"]
    assert metrics.prior["name"] == "specialist"
    assert {"mean_recall", "ece", "slope"} <= set(metrics.roles["selection"]["equal_prior"])
    assert any(output.startswith("calibration: probabilities, marks, sets") for output in metrics.warnings)
    write_card(run)
    assert "Suspicion of malignancy" in (run.path / "model_card.md").read_text(encoding="utf-8")


def test_what_told_of_the_decision_before_is_taken_away(run: Run, cache: Path, tmp_path: Path):
    """All that a card or `publish` would show; what no decision changes stays."""
    of_decision = (
        "metrics.json", "model_card.md", "report.html", "missing_metadata.csv", "decision/test/sets.csv",
        "decision/test/sets.png", "evaluations/clinic-12345678/metrics.json",
        "evaluations/clinic-12345678/report.html",
    )  # fmt: skip
    others = ("far_ood.csv", "near_ood.csv", "evaluations/clinic-12345678/predictions.csv", "notes.md")
    for name in (*of_decision, *others):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("of before")
    calibrate_run(run, device="cpu", cache=cache)
    assert not [name for name in of_decision if (run.path / name).exists()]
    assert not [name for name in others if not (run.path / name).exists()]
    assert not (run.path / "decision" / "test").exists()  # which alone would get a command in the card
    with pytest.raises(UserError, match=r"metrics\.json"):
        publish_run(run, tmp_path / "published")


def test_the_test_role_is_predicted_anew_and_answered(run: Run, cache: Path, tmp_path: Path):
    ledger = tmp_path / "ledger.csv"
    evaluate_run(run, open_test=True, ledger=ledger, cache=cache, device="cpu")
    calibrate_run(run, device="cpu", cache=cache)
    assert "test" not in set(run.predictions()["role"])
    metrics = evaluate_run(run, open_test=True, ledger=ledger, cache=cache, device="cpu")
    assert "answers" in metrics.roles["test"]
    assert len(ledger.read_text().splitlines()) == 3


def test_it_is_scored_in_another_case_mix(run: Run, cache: Path):
    with pytest.raises(UserError, match="case mix"):
        evaluate_run(run, prior="equal")
    document = calibrate_run(run, device="cpu", cache=cache)
    own, equal = evaluate_run(run), evaluate_run(run, prior="equal")
    assert (run.path / "priors" / "equal" / "metrics.json").is_file()
    assert evaluate_run(run) == own, "the run's own predictions and scores are left alone"
    predictions = run.predictions()
    part = predictions[predictions["role"] == "selection"]
    p_NC = part[[f"p_{code}" for code in document.classes]].to_numpy() / np.array(document.prior.shares)
    named = np.array(document.classes)[p_NC.argmax(axis=1)]
    right = pd.Series(named == part["target"].to_numpy())
    scored = equal.roles["selection"]["overall"]
    assert scored["accuracy"]["value"] == pytest.approx(right.mean())
    by_class = right.groupby(part["target"].to_numpy()).mean()
    assert scored["balanced_accuracy_isic"]["value"] == pytest.approx(by_class.mean())
    assert own.roles["selection"]["equal_prior"]["mean_recall"] == pytest.approx(by_class.mean())
    assert equal.roles["selection"]["suspicion"] == own.roles["selection"]["suspicion"]


def test_a_decision_is_fitted_on_predictions_out_of_fold(run: Run, cache: Path, tmp_path: Path):
    rng = np.random.default_rng(0)
    classes = run.model().classes
    target_N = np.arange(140) % len(classes)
    logits_NC = rng.normal(size=(140, len(classes))) + 2 * np.eye(len(classes))[target_N]
    p_NC = np.exp(log_softmax(logits_NC))
    ids = {"image_id": [f"i{n}" for n in range(140)], "lesion_id": [f"l{n}" for n in range(140)]}
    table = pd.DataFrame(p_NC, columns=[f"p_{code}" for code in classes]).assign(
        **ids, role="out_of_fold", target=[classes[n] for n in target_N], age=np.nan, sex="unknown",
        site="unknown", dx_type="unknown", source=np.where(np.arange(140) < 70, "here", "there"),
    )  # fmt: skip
    write_predictions(tmp_path / "folds.csv", table)
    own = calibrate_run(run, device="cpu", cache=cache)
    found = calibrate_run(run, out_of_fold=tmp_path / "folds.csv", prior="equal", device="cpu", cache=cache)
    assert found.sets.lesions == (20,) * 7 != own.sets.lesions
    assert set(found.suspicion.mark.by_source) == {"here", "there"}
    assert (found.prior.name, found.ood) == ("equal", own.ood)
    with pytest.raises(UserError, match="calibrated"):
        calibrate_run(run, out_of_fold=run.predictions_file, device="cpu", cache=cache)


def test_calibrating_twice_changes_nothing(run: Run, cache: Path):
    one = calibrate_run(run, device="cpu", cache=cache)
    first = run.predictions()
    assert calibrate_run(run, device="cpu", cache=cache) == one
    pd.testing.assert_frame_equal(run.predictions(), first)


def test_prediction_answers_as_calibration_did(run: Run, cache: Path, pictures: Path):
    from dermlens.data.table import read_table

    document = calibrate_run(run, device="cpu", cache=cache)
    stored = run.predictions().set_index("image_id")
    table = read_table(pictures)
    table = table[table["image_id"].isin(stored.index)].reset_index(drop=True)
    frame = predict_table(run.model(), table, cache_root=cache, device="cpu").set_index("image_id")
    stored = stored.loc[frame.index]
    np.testing.assert_allclose(frame["ood"], stored["ood"], rtol=1e-4)
    # the threshold is the score of one of the images, which other batches may round to its other side
    clear = ~np.isclose(stored["ood"], document.ood.threshold, rtol=1e-6)
    assert clear.mean() > 0.9
    for name in ("diagnosis", "set", "flagged", "uncertain", "reason"):
        assert frame.loc[clear, name].tolist() == stored.loc[clear, name].tolist()


def test_predictions_of_another_decision_are_refused(run: Run, cache: Path, tmp_path: Path):
    plain = run.predictions()
    calibrate_run(run, device="cpu", cache=cache)
    write_predictions(run.predictions_file, plain)
    with pytest.raises(UserError, match="same decision"):
        evaluate_run(run, open_test=True, ledger=tmp_path / "ledger.csv", cache=cache, device="cpu")


def test_a_split_without_the_roles(run: Run, cache: Path):
    text = run.split_file.read_text().replace(",calibration\n", ",train\n")
    run.split_file.write_text(text)
    with pytest.raises(UserError, match="calibration role"):
        calibrate_run(run, device="cpu", cache=cache)


def test_photographs_are_out_of_distribution(trained: Run, cache: Path, tmp_path: Path):
    """Of this network nothing can be asked but that the table is whole and each set has rows."""
    photographs = write_photographs(tmp_path / "photographs", pieces=2)
    sets = {"photographs": photographs, "one": photographs.head(1)}
    found = far_ood(trained, sets, tmp_path / "far.csv", device="cpu", cache=cache)
    assert len(found) == 6
    assert found.groupby("set")["images"].first().to_dict() == {"one": 1, "photographs": len(photographs)}
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "far.csv"), found, rtol=1e-5, check_dtype=False)


def test_a_decision_that_is_damaged_can_be_fitted_anew(run: Run, cache: Path):
    calibrate_run(run, ood="knn", device="cpu", cache=cache)
    (run.path / "decision.npz").write_bytes(b"cut short")
    with pytest.raises(UserError, match=r"model\.json"):
        run.model()
    document = calibrate_run(run, ood="knn", device="cpu", cache=cache)
    assert run.model().decision == document


def test_calibrating_decodes_nothing_again(run: Run, cache: Path):
    """The pixels of its roles are those that the training has cached."""
    before = sorted(cache.rglob("*.npy"))
    assert before
    calibrate_run(run, device="cpu", cache=cache)
    assert sorted(cache.rglob("*.npy")) == before
