"""CRCKD trains from a recipe; a stopped run ends as if it had not been; what does not fit is refused."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from dermlens.errors import UserError
from dermlens.plugins import trusted_code
from dermlens.recipe import parse_recipe
from dermlens.training.fit import fit, resume_fit
from dermlens.training.task import task_class
from related.crckd_task import CRCKDTask, turned

from .conftest import TRAINING

TASK = (
    "train.task={kind: 'related.crckd_task:CRCKDTask', settings: {positives: 3, negatives: 8, begin: 0.5%s}}"
)


def recipe(more=""):
    return parse_recipe(TRAINING, "tiny", ["train.epochs=2", TASK % more], trust_code=True)


@pytest.fixture(scope="module")
def whole(data, cache, tmp_path_factory):
    return fit(recipe(), data, out=tmp_path_factory.mktemp("crckd") / "run", device="cpu", cache=cache)


def test_it_trains_and_the_student_is_what_is_kept(whole):
    assert whole.read_record().status == "completed"
    assert whole.recipe == recipe()
    from dermlens.models.saved import load_model

    assert not [name for name in load_model(whole.path).model.state_dict() if "teacher" in name]


def test_a_stopped_run_ends_as_if_it_had_not_been(whole, data, cache, tmp_path, monkeypatch):
    """The memories, the teacher and Z are in the checkpoint."""
    step = CRCKDTask.training_step

    def stopped(self, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (1, 1):
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(CRCKDTask, "training_step", stopped)
        with pytest.raises(KeyboardInterrupt):
            fit(recipe(), data, out=tmp_path / "run", device="cpu", cache=cache)
    run = resume_fit(tmp_path / "run", device="cpu", cache=cache)
    assert run.predictions_file.read_bytes() == whole.predictions_file.read_bytes()


def test_what_it_teaches_changes_the_student(whole, data, cache, tmp_path):
    """Without all three it is the usual training."""
    off = recipe(", teacher: false, contrast: 0, relation: 0")
    plain = fit(off, data, out=tmp_path / "off", device="cpu", cache=cache)
    columns = ["p_nv", "p_mel"]
    taught, alone = (pd.read_csv(run.predictions_file)[columns] for run in (whole, plain))
    assert not taught.equals(alone)


def test_views_are_turned_and_mirrored():
    torch.manual_seed(0)
    x_BCHW = torch.arange(9.0).view(1, 1, 3, 3).expand(40, 1, 3, 3)
    found = {tuple(one.flatten().tolist()) for one in turned(x_BCHW)}
    assert len(found) == 8
    assert all(sorted(one) == list(range(9)) for one in found)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("related.crckd_task:Nothing", "cannot be imported"),
        ("no.such.module:Task", "cannot be imported"),
        ("related.crckd:Memory", "no subclass"),
    ],
)
def test_a_task_that_is_none_is_refused(kind, why):
    with trusted_code(), pytest.raises(UserError, match=why):
        task_class(kind)


def test_a_task_that_nobody_trusted_is_not_imported():
    """A stored run may name any: none is looked for."""
    with pytest.raises(UserError, match="--trust-code"):
        task_class("no.such.module:Untrusted")
