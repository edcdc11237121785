"""What is published follows the run: no table of a decision before, and never onto the run itself."""

from __future__ import annotations

import shutil

import pytest
from calibrated import make_calibrated_run

from dermlens.errors import UserError
from dermlens.evaluation.ledger import publish_run
from dermlens.report.card import write_card


@pytest.fixture
def run(tmp_path):
    made = make_calibrated_run(tmp_path / "run", bootstrap=0)
    made.split_file.write_text("image_id,lesion_id,role\nISIC_train_0,HAM_train_0,train\n")
    write_card(made)
    return made


def test_tables_of_a_decision_before_do_not_stay(run, tmp_path):
    folder = tmp_path / "published"
    publish_run(run, folder)
    assert (folder / "decision" / "test" / "calibration.csv").is_file()
    for name in ("missing_metadata.csv", "near_ood.csv", "README.md"):
        (folder / name).write_text("here already")
    shutil.rmtree(run.path / "decision" / "test")
    publish_run(run, folder)
    assert not list((folder / "decision" / "test").glob("*"))
    assert (folder / "decision" / "selection" / "calibration.csv").is_file()
    assert not (folder / "missing_metadata.csv").exists()
    assert (folder / "near_ood.csv").is_file()  # of no decision
    assert (folder / "README.md").is_file()


def test_a_run_is_not_published_onto_itself(run):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="run itself"):
        publish_run(run, run.path / "." / "decision" / "..")
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
