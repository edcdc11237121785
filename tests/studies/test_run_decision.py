from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dermlens.calibration import decision
from dermlens.calibration.decision import calibrate_run
from dermlens.calibration.probabilities import Labelled
from dermlens.data.synthetic.folder import write_synthetic
from dermlens.errors import UserError
from dermlens.evaluation.evaluate import evaluate_run
from dermlens.recipe import parse_recipe
from dermlens.runs import Run
from dermlens.studies import out_of_distribution as far
from dermlens.studies.out_of_distribution import write_photographs
from dermlens.studies.reliability import KNOWN as METADATA_GIVEN
from dermlens.studies.reliability import missing_metadata, report_run
from dermlens.training.fit import fit

RECIPE = """
name: decided
data: {size: 48}
split: {protocol: grouped, selection: 0.25, calibration: 0.25, test: 0.1}
model: {backbone: mobilenet_v3_small, pool: gap, heads: 2, metadata: gessert}
train: {epochs: 1, batch_size: 16}
evaluation: {bootstrap: 10}
"""


@pytest.fixture(scope="module")
def trained(cache, tmp_path_factory) -> Run:
    data = write_synthetic(tmp_path_factory.mktemp("decided") / "data", lesions=80, seed=0, size=(48, 64))
    recipe = parse_recipe(RECIPE, "decided")
    return fit(recipe, data, out=tmp_path_factory.mktemp("run") / "decided", device="cpu", cache=cache)


def test_a_decision_is_shown_on_a_role_and_agrees_with_the_metrics(trained: Run, cache: Path, tmp_path: Path):
    run = Run(shutil.copytree(trained.path, tmp_path / "decided"))
    with pytest.raises(UserError, match="dermlens calibrate"):
        report_run(run, "calibration", tmp_path / "shown", device="cpu", cache=cache)
    calibrate_run(run, device="cpu", cache=cache)
    tables = report_run(run, "selection", tmp_path / "shown", device="cpu", cache=cache)
    scored = evaluate_run(run).roles["selection"]
    after = tables["calibration"].set_index(["prior", "stage"]).loc[("own", "after")]
    assert after["ece"] == pytest.approx(scored["overall"]["ece"]["value"], abs=1e-6)
    names = {path.name for path in (tmp_path / "shown").iterdir()}
    assert {"calibration.csv", "sets.csv", "risk_coverage.csv", "answered.csv", "risk_coverage.png"} <= names
    with pytest.raises(UserError, match="role test"):
        report_run(run, "test", tmp_path / "shown", device="cpu", cache=cache)


def test_without_metadata_only_the_images_count(trained: Run, cache: Path, tmp_path: Path, monkeypatch):
    tables: list[pd.DataFrame] = []

    def watch(saved, table, **options):
        tables.append(table)
        return label(saved, table, **options)

    label = far.label_outputs
    monkeypatch.setattr(far, "label_outputs", watch)
    monkeypatch.setattr(decision, "label_outputs", watch)
    others = {"photographs": write_photographs(tmp_path / "photographs", pieces=2).assign(age=50.0)}
    with_it = far.far_ood(trained, others, tmp_path / "with.csv", device="cpu", cache=cache)
    assert sum(table["age"].notna().any() for table in tables) == 4  # three roles, and the others
    tables.clear()
    without = far.far_ood(
        trained, others, tmp_path / "without.csv", metadata=False, device="cpu", cache=cache
    )
    assert len(tables) == 4
    for table in tables:
        assert table["age"].isna().all()
        assert set(table["sex"]) == set(table["site"]) == {"unknown"}
    by_score = [table.set_index("score")["auroc"] for table in (with_it, without)]
    assert by_score[0]["energy"] != by_score[1]["energy"]  # of logits, which the metadata move
    np.testing.assert_allclose(by_score[0]["mahalanobis"], by_score[1]["mahalanobis"])  # of the images alone


def test_without_a_selection_role_half_of_the_calibration_role_is_familiar(
    trained: Run, cache: Path, tmp_path: Path, monkeypatch
):
    final = Run(shutil.copytree(trained.path, tmp_path / "final"))
    calibration_ids = final.split().ids("calibration")
    final.split_file.write_text(final.split_file.read_text().replace(",selection", ",train"))
    seen: list[tuple[Labelled, Labelled]] = []

    def watch(train, calibration, familiar, sets):
        seen.append((calibration, familiar))
        return table(train, calibration, familiar, sets)

    table = far.out_of_distribution_table
    monkeypatch.setattr(far, "out_of_distribution_table", watch)
    pictures = {"photographs": write_photographs(tmp_path / "photographs", pieces=2)}
    far.far_ood(final, pictures, tmp_path / "far.csv", device="cpu", cache=cache)
    ((calibration, familiar),) = seen
    assert not set(calibration.lesion_N) & set(familiar.lesion_N)
    assert len(calibration.target_N) + len(familiar.target_N) == len(calibration_ids)
    both = np.concatenate([calibration.logits_NC, familiar.logits_NC])
    assert len(np.unique(both, axis=0)) == len(both)


def test_with_less_metadata_the_same_images_are_scored_again(trained: Run, cache: Path, tmp_path: Path):
    found = missing_metadata(
        trained, "selection", tmp_path / "missing_metadata.csv", device="cpu", cache=cache
    ).set_index("metadata")
    scored = evaluate_run(Run(shutil.copytree(trained.path, tmp_path / "run"))).roles["selection"]
    whole = found.loc["age, sex and site"]
    assert whole["mean_auc"] == scored["averages"]["macro"]["auc"]["value"]
    assert whole["melanoma_recall"] == scored["per_class"]["mel"]["recall"]["value"]
    assert set(found["images"]) == {scored["images"]}
    assert found["ece"].nunique() == 4  # each kind of knowledge moves the probabilities
    written = pd.read_csv(tmp_path / "missing_metadata.csv").set_index("metadata")
    pd.testing.assert_frame_equal(written, found, check_dtype=False, rtol=1e-5)
    with pytest.raises(UserError, match="role test"):
        missing_metadata(trained, "test", tmp_path / "test.csv", device="cpu", cache=cache)


def test_less_metadata_is_of_the_runs_own_images_or_of_none(trained: Run, cache: Path, tmp_path: Path):
    elsewhere = write_synthetic(tmp_path / "elsewhere", lesions=12, seed=5, size=(48, 64))
    part = shutil.copytree(trained.read_record().data, tmp_path / "part")
    labels = next(part.rglob("HAM10000_metadata*"))
    header, _, *others = labels.read_text().splitlines(keepends=True)
    labels.write_text("".join([header, *others]))
    whole = Run(shutil.copytree(trained.path, tmp_path / "run"))
    unsigned = Run(shutil.copytree(trained.path, tmp_path / "unsigned"))
    lines = unsigned.split_file.read_text().splitlines(keepends=True)
    unsigned.split_file.write_text("".join(line for line in lines if "table-sha256" not in line))
    for run in (whole, unsigned):
        for data in (elsewhere, part):
            with pytest.raises(UserError, match="--data"):
                missing_metadata(run, "selection", tmp_path / "x.csv", data=data, device="cpu", cache=cache)
    assert not (tmp_path / "x.csv").exists()


def test_what_is_withheld_is_missing():
    table = pd.DataFrame({"age": [40.0], "sex": ["male"], "site": ["back"], "path": ["a.jpg"]})
    output = {
        name: reduce(table)[["age", "sex", "site"]].iloc[0].tolist()
        for name, reduce in METADATA_GIVEN.items()
    }
    assert output["age, sex and site"] == [40.0, "male", "back"]
    assert output["age and sex"] == [40.0, "male", "unknown"]
    assert np.isnan(output["site"][0])
    assert output["site"][1:] == ["unknown", "back"]
    assert output["nothing"][1:] == ["unknown", "unknown"]
