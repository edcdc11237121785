"""What is neither begun nor gone on with: other data, a run that is being trained, an edited recipe."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dermlens.data.synthetic import write_synthetic
from dermlens.errors import UserError
from dermlens.runs import Run
from dermlens.training import lock
from dermlens.training.fit import resume_fit
from dermlens.training.stopping import KeepBest


def test_a_recipe_for_other_data_makes_no_run_and_names_the_way_out(train, tiny_recipe, tmp_path):
    with pytest.raises(UserError, match=r"grouped-v1 .*--set split\.manifest=null") as caught:
        train(tiny_recipe("split.manifest=grouped-v1"))
    assert "--resume" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_other_data_on_resuming_are_refused(train, tiny_recipe, cache, tmp_path):
    run = train(tiny_recipe("train.epochs=1"))
    run.record(status="interrupted")
    other = write_synthetic(tmp_path / "other", lesions=30, seed=1, size=(48, 64))
    with pytest.raises(UserError, match=r"another table .* name the data that the run began with, by --data"):
        resume_fit(run.path, data=other, cache=cache)


def test_a_run_that_is_being_trained_is_not_resumed(train, tiny_recipe, cache):
    run = train(tiny_recipe("train.epochs=1"))
    run.record(status="running")
    program = (
        "import sys; from pathlib import Path\n"
        "from dermlens.runs import Run; from dermlens.training import lock\n"
        "with lock.held(Run(Path(sys.argv[1]))): print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(run.path)]
    before = run.record_file.read_bytes()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"is being trained by another process: wait for it"):
            resume_fit(run.path, cache=cache)
        other.kill()
    assert run.record_file.read_bytes() == before
    assert resume_fit(run.path, cache=cache, device="cpu").read_record()["status"] == "completed"


def test_training_holds_the_lock(train, tiny_recipe, tmp_path, monkeypatch):
    """What `fit` does while it trains: `flock` sees two openings of one file as two holders."""
    refused = []

    def training(run, *args):
        with pytest.raises(UserError, match="is being trained"), lock.held(run):
            pass
        refused.append(run.path)
        raise UserError("enough")

    monkeypatch.setattr("dermlens.training.fit.train", training)
    with pytest.raises(UserError, match="enough"):
        train(tiny_recipe())
    assert refused == [tmp_path / "run"]
    with lock.held(Run(tmp_path / "run")):
        pass


@pytest.mark.parametrize("change", [("heads: 2", "heads: 3"), ("kind: adamw", "kind: sgd")], ids=str)
def test_an_edited_recipe_is_named_on_resuming(train, tiny_recipe, cache, change):
    run = train(tiny_recipe("train.epochs=1", "train.optimizer.weight_decay=0"))
    run.record(status="interrupted")
    text = run.recipe_file.read_text()
    assert change[0] in text
    run.recipe_file.write_text(text.replace(*change))
    with pytest.raises(UserError, match=r"recipe\.yaml describes another network or optimiser"):
        resume_fit(run.path, cache=cache)


def test_a_run_without_one_finite_score_keeps_nothing(train, tiny_recipe, monkeypatch):
    monkeypatch.setattr(KeepBest, "on_validation_end", lambda *args: None)
    with pytest.raises(UserError, match=r"no epoch of .* had a finite val_loss; lower"):
        train(tiny_recipe("train.epochs=1", "train.keep=val_loss"))
