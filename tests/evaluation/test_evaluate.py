"""The rules of who is scored when; the network is a stand-in that knows the truth two times out of three."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from command import exit_code

from dermlens.data.config import SplitConfig
from dermlens.data.predictions import read_predictions, write_predictions
from dermlens.data.split import make_split
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.evaluation.comparison import compare_runs
from dermlens.evaluation.evaluate import evaluate_run
from dermlens.evaluation.ledger import run_openings
from dermlens.labels import CLASSES
from dermlens.recipe import Recipe
from dermlens.report.page import write_report
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig, TrainConfig


def write_data(folder, *, images=420, prefix="ISIC", classes=CLASSES):
    """HAM10000's layout with files that are no images; a lesion has two, then one, in turn."""
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(images):
        lesion = number - 1 if number % 3 == 1 else number
        image_id = f"{prefix}_{number:07d}"
        (folder / "images" / f"{image_id}.jpg").write_text(image_id, encoding="utf-8")
        dx = classes[(lesion // 3) % len(classes)]
        rows.append(f"{prefix}L_{lesion:07d},{image_id},{dx},histo,{20 + number % 60}.0,female,back")
    text = "lesion_id,image_id,dx,dx_type,age,sex,localization\n" + "\n".join(rows) + "\n"
    (folder / "HAM10000_metadata.csv").write_text(text, encoding="utf-8")
    return folder


def stand_in(_model, table, *, cache_root=None, device="cpu"):
    """What the real predict_table returns, by an oracle that errs."""
    target_N = np.array([CLASSES.index(code) for code in table["dx"]])
    named_N = np.where(np.arange(len(table)) % 3 == 0, (target_N + 1) % 7, target_N)
    p_NC = np.full((len(table), 7), 0.05)
    p_NC[np.arange(len(table)), named_N] = 0.7
    frame = table[["image_id", "lesion_id", "age", "sex", "site", "dx_type"]].assign(target=table["dx"])
    return frame.assign(**{f"p_{code}": p_NC[:, index] for index, code in enumerate(CLASSES)})


@pytest.fixture
def calls(monkeypatch):
    """How many images the stand-in was asked for, call by call."""
    asked = []

    def predict_table(model, table, **options):
        asked.append(len(table))
        return stand_in(model, table, **options)

    saved = SimpleNamespace(load_model=lambda folder, decision: None)
    monkeypatch.setitem(sys.modules, "dermlens.models.saved", saved)
    monkeypatch.setitem(
        sys.modules, "dermlens.training.predict", SimpleNamespace(predict_table=predict_table)
    )
    return asked


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path / "ham10000")


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "results" / "ledger.csv"


@pytest.fixture
def make_run(tmp_path, data):
    def make(split=None, *, predicted=("selection", "calibration"), train=None, name="run"):
        recipe = Recipe(
            name="small",
            split=split or SplitConfig(),
            train=train or TrainConfig(),
            evaluation=EvaluationConfig(bootstrap=20),
        )
        run = Run.create(tmp_path / name, recipe)
        table = read_table(data)
        roles = make_split(table, recipe.split)
        roles.save(run.split_file)
        frames = [
            stand_in(None, table[table["image_id"].isin(roles.ids(role))]).assign(role=role)
            for role in predicted
        ]
        if frames:
            write_predictions(run.predictions_file, pd.concat(frames, ignore_index=True))
        run.end("completed", data=str(data), git_commit="abc123")
        return run

    return make


def entries(ledger):
    with ledger.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_own_roles_without_the_test(make_run, calls, ledger):
    run = make_run()
    metrics = evaluate_run(run, ledger=ledger)
    assert list(metrics.roles) == ["selection", "calibration"]
    assert run.metrics == metrics
    assert calls == []
    assert not ledger.exists()


def test_opening_the_test_enters_it_in_the_ledger(make_run, calls, ledger):
    run = make_run()
    metrics = evaluate_run(run, open_test=True, ledger=ledger)
    assert list(metrics.roles) == ["selection", "calibration", "test"]
    assert calls == [metrics.roles["test"]["images"]]
    (entry,) = entries(ledger)
    test = metrics.roles["test"]
    assert entry["run"] == "run"
    assert entry["recipe"] == "small"
    assert entry["recipe_sha256"] == hashlib.sha256(run.recipe_file.read_bytes()).hexdigest()
    assert entry["manifest"] == "grouped"
    assert entry["code"].startswith(f"dermlens {version('dermlens')}")
    assert entry["how"] == "evaluate --open-test"
    assert entries(run.ledger_file) == [entry]
    assert int(entry["images"]) == test["images"]
    assert float(entry["mean_recall"]) == pytest.approx(
        test["overall"]["balanced_accuracy_isic"]["value"], abs=5e-5
    )
    assert float(entry["mean_recall_low"]) <= float(entry["mean_recall"]) <= float(entry["mean_recall_high"])
    assert float(entry["melanoma_recall"]) == pytest.approx(
        test["per_class"]["mel"]["recall"]["value"], abs=5e-5
    )
    (point, _) = test["detection"]["melanoma"]["operating_points"]
    assert point["threshold_role"] == "calibration"


def test_an_opened_test_is_sealed_again_and_each_look_counts(make_run, calls, ledger):
    """Its predictions stay in the run, and yet a plain evaluation does not score them."""
    run = make_run()
    opened = evaluate_run(run, open_test=True, ledger=ledger)
    assert set(run.predictions()["role"]) == {"selection", "calibration", "test"}
    assert "test" not in evaluate_run(run, ledger=ledger).roles
    again = evaluate_run(run, open_test=True, ledger=ledger)
    assert again.roles["test"] == opened.roles["test"]
    assert len(calls) == 1
    assert len(entries(ledger)) == 2


def test_a_ledger_that_cannot_be_written_keeps_the_test_shut(make_run, calls, ledger):
    run = make_run()
    before = run.predictions_file.read_bytes()
    ledger.parent.mkdir()
    ledger.write_text("not a ledger\n", encoding="utf-8")
    with pytest.raises(UserError, match="ledger"):
        evaluate_run(run, open_test=True, ledger=ledger)
    assert run.predictions_file.read_bytes() == before
    assert not run.metrics_file.exists()


def test_moved_data_are_named(make_run, calls, data, ledger, tmp_path):
    run = make_run()
    moved = data.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="--data"):
        evaluate_run(run, open_test=True, ledger=ledger)
    assert "test" in evaluate_run(run, open_test=True, data=moved, ledger=ledger).roles


def test_the_papers_protocol_has_no_test_and_only_itself_for_thresholds(make_run, calls, ledger):
    run = make_run(SplitConfig(protocol="paper"), predicted=("selection",))
    metrics = evaluate_run(run, ledger=ledger)
    assert any("epoch was chosen" in warning for warning in metrics.warnings)
    assert any("thresholds" in warning for warning in metrics.warnings)
    with pytest.raises(UserError, match="test role"):
        evaluate_run(run, open_test=True, ledger=ledger)


def test_where_test_is_all_that_is_held_out_it_is_scored(make_run, calls, ledger):
    """Under `singletons` there is no selection role to look at instead, so nothing is sealed."""
    run = make_run(SplitConfig(protocol="singletons", holdout=0.15), predicted=())
    metrics = evaluate_run(run, ledger=ledger)
    assert list(metrics.roles) == ["test"]
    assert not ledger.exists()
    assert len(calls) == 1
    evaluate_run(run, open_test=True, ledger=ledger)
    assert len(entries(ledger)) == 1


def test_a_role_is_scored_whole_or_not_at_all(make_run, calls, ledger, tmp_path):
    run = make_run()
    lines = run.predictions_file.read_text(encoding="utf-8").splitlines(keepends=True)
    run.predictions_file.write_text("".join(lines[:-5]), encoding="utf-8")
    with pytest.raises(UserError, match=r"predictions.csv.*calibration.*5.*0"):
        evaluate_run(run, ledger=ledger)
    other = write_data(tmp_path / "clinic", images=90, prefix="CLINIC")
    with pytest.raises(UserError, match=r"calibration.*5"):  # thresholds are fixed on them
        evaluate_run(run, data=other, ledger=ledger)
    run.predictions_file.write_text("".join([*lines, "X" + lines[1]]), encoding="utf-8")
    with pytest.raises(UserError, match=r"selection.*0.*1"):
        evaluate_run(run, ledger=ledger)


def test_a_grouped_test_is_sealed_without_a_selection_role_too(make_run, calls, ledger):
    run = make_run(SplitConfig(selection=0.0), predicted=("calibration",))
    assert list(evaluate_run(run, ledger=ledger).roles) == ["calibration"]
    alone = make_run(SplitConfig(selection=0.0, calibration=0.0), predicted=(), name="alone")
    with pytest.raises(UserError, match="--open-test"):
        evaluate_run(alone, ledger=ledger)
    assert (calls, ledger.exists()) == ([], False)
    assert list(evaluate_run(alone, open_test=True, ledger=ledger).roles) == ["test"]
    assert len(entries(ledger)) == 1


def test_the_epoch_warning_needs_an_epoch_that_was_chosen(make_run, calls, ledger):
    kept = make_run(train=TrainConfig(keep="last"), name="last")
    assert evaluate_run(kept, ledger=ledger).warnings == []
    chosen = make_run(name="best")
    (warning,) = evaluate_run(chosen, ledger=ledger).warnings
    assert warning.startswith("selection: the epoch")


ABSENT = "external: akiec, bcc, bkl, df, vasc have no image; means over classes are over 2 of 7"


def test_classes_of_one_or_two_lesions_are_named(make_run, calls, ledger, tmp_path):
    other = write_data(tmp_path / "practice", images=5, prefix="PRACTICE", classes=("mel", "nv"))
    absent, *few = evaluate_run(make_run(), data=other, ledger=ledger).warnings
    assert absent == ABSENT
    assert [warning.partition(",")[0] for warning in few] == [
        "external: mel has 2 lesions",
        "external: nv has 1 lesion",
    ]


def test_another_set(make_run, calls, ledger, tmp_path):
    run = make_run()
    other = write_data(tmp_path / "clinic", images=90, prefix="CLINIC", classes=("mel", "nv"))
    metrics = evaluate_run(run, data=other, ledger=ledger)
    assert list(metrics.roles) == ["external"]
    external = metrics.roles["external"]
    assert external["images"] == 90
    assert external["classes_present"] == 2
    assert external["per_class"]["bcc"]["recall"]["value"] is None
    assert external["detection"]["melanoma"]["operating_points"][0]["threshold_role"] == "calibration"
    assert metrics.warnings == [ABSENT]
    folder = run.path / "evaluations" / metrics.data.name
    assert metrics.data.name.startswith("clinic-")
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == metrics.model_dump(
        exclude_unset=True, by_alias=True
    )
    assert len(read_predictions(folder / "predictions.csv")) == 90
    assert not run.metrics_file.exists()


def test_images_of_the_split_are_left_out_of_another_set(make_run, calls, data, ledger, tmp_path):
    run = make_run()
    with pytest.raises(UserError, match="own split"):
        evaluate_run(run, data=data, ledger=ledger)
    mixed = write_data(tmp_path / "mixed", images=500)  # the first 420 are the run's own
    metrics = evaluate_run(run, data=mixed, ledger=ledger)
    assert metrics.roles["external"]["images"] == 80
    assert metrics.warnings[0].startswith("external: 420 of 500 images")


def test_lesions_in_common_are_said(make_run, calls, ledger, tmp_path):
    run = make_run()
    other = write_data(tmp_path / "clinic", images=90, prefix="CLINIC")
    table = other / "HAM10000_metadata.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("CLINICL_", "ISICL_"), encoding="utf-8")
    metrics = evaluate_run(run, data=other, ledger=ledger)
    assert metrics.roles["external"]["images"] == 90
    assert "90 images" in metrics.warnings[0]


def test_a_strange_label_asks_for_a_map(make_run, calls, ledger, tmp_path):
    run = make_run()
    other = write_data(tmp_path / "clinic", images=90, prefix="CLINIC", classes=("MELNOMA", "nv"))
    with pytest.raises(UserError, match="MELNOMA") as error:
        evaluate_run(run, data=other, ledger=ledger)
    assert "label map" in str(error.value)
    metrics = evaluate_run(run, data=other, labels={"MELNOMA": "mel"}, ledger=ledger)
    assert (metrics.data.columns, metrics.data.labels) == ({}, {"MELNOMA": "mel"})
    assert metrics.roles["external"]["per_class"]["mel"]["support"] > 0


@pytest.mark.parametrize("maps", [{"columns": {"image_id": "img"}}, {"labels": {"MELNOMA": "mel"}}])
def test_maps_go_with_another_set(make_run, calls, data, ledger, maps):
    run = make_run()
    for own in ({}, {"data": data, "open_test": True}):
        with pytest.raises(UserError, match=r"--column, --label, --value and --skip.*--data"):
            evaluate_run(run, ledger=ledger, **own, **maps)
    assert not ledger.exists()


def test_nothing_to_score(make_run, calls, ledger):
    run = make_run(predicted=("train",))
    with pytest.raises(UserError, match="selection or calibration"):
        evaluate_run(run, ledger=ledger)


def test_once_opened_always_opened(make_run, calls):
    """A plain evaluation takes the scores away, and the look stays; so it does when the run is copied."""
    run = make_run()
    assert not run_openings(run).opened
    evaluate_run(run, open_test=True)
    evaluate_run(run)
    first = run_openings(run)
    assert (first.times, first.recipes, first.first) == (1, ("small",), first.last)
    evaluate_run(run, open_test=True)
    assert run_openings(run).times == 2
    copy = Run(shutil.copytree(run.path, run.path.with_name("copy")))
    assert run_openings(copy).times == 2


def test_a_look_whose_ledger_is_gone_is_a_look(make_run, calls):
    run = make_run()
    evaluate_run(run, open_test=True)
    (run.ledger_file).unlink()
    evaluate_run(run)
    found = run_openings(run)
    assert (found.opened, found.unrecorded, found.times) == (True, True, 0)


def test_a_test_role_that_is_scored_freely_was_not_opened(make_run, calls):
    run = make_run(SplitConfig(protocol="singletons", holdout=0.15), predicted=())
    evaluate_run(run)
    assert not run_openings(run).opened


def test_a_second_look_is_said_before_a_number(make_run, calls, capsys):
    run = make_run()
    evaluate_run(run, open_test=True)
    assert exit_code("evaluate", run.path, "--open-test") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert output.index("opened once") < output.index("images of")
    assert output.index("images of") < output.index("opened 2 times")
    assert exit_code("evaluate", run.path) == 0
    assert "opened 2 times" in " ".join(capsys.readouterr().out.split())


def test_comparisons_say_who_was_opened(make_run, calls):
    first, second = make_run(name="first"), make_run(name="second")
    evaluate_run(first, open_test=True)
    compared = compare_runs([first, second]).to_json()
    assert [compared["openings"][name]["times"] for name in ("first", "second")] == [1, 0]


def test_report_and_card_say_it_after_the_scores_have_gone(make_run, calls, data):
    run = make_run()
    evaluate_run(run, open_test=True)
    evaluate_run(run)
    page = write_report(run).read_text(encoding="utf-8")
    for text in (page, (run.path / "model_card.md").read_text(encoding="utf-8")):
        assert "opened once" in text
        assert "has not been opened" not in text
