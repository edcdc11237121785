"""When runs stop and what they keep, against the authors' logs and against Keras's rules."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.trainer.states import TrainerFn
from torch import nn

from dermlens.sections import EarlyStoppingConfig
from dermlens.training.checkpoints import KeepBest, StopEarly
from dermlens.training.task import LesionTask


def stops_in(values, config):
    """The epoch, counted from 1, in which a run with these values stops; none if it does not."""
    trainer = SimpleNamespace(
        fast_dev_run=False,
        sanity_checking=False,
        should_stop=False,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        strategy=SimpleNamespace(reduce_boolean_decision=lambda decision, all: decision),
        callback_metrics={},
        current_epoch=0,
    )
    stop = StopEarly(config)
    stop.setup(trainer, None, "fit")
    for epoch, value in enumerate(values):
        trainer.current_epoch = epoch
        trainer.callback_metrics[config.monitor] = torch.tensor(value, dtype=torch.float64)
        stop.on_validation_end(trainer, None)
        if trainer.should_stop:
            return epoch + 1
    return None


@pytest.mark.parametrize(
    ("best", "patience", "epochs"),
    [(33, 35, 68), (20, 35, 55), (61, 25, 86), (11, 35, 46), (132, 35, 167)],
    ids=["MD-IR-10", "MD-DN-LR", "MD-R50", "AD-DN", "A22-GAP"],
)
def test_stops_in_the_epoch_of_the_authors_logs(best, patience, epochs):
    """The epoch of the lowest validation loss and the epochs logged, in the authors' notebooks."""
    values = [2 - 0.01 * min(epoch, best) + 0.02 * (epoch > best) for epoch in range(1, 500)]
    assert stops_in(values, EarlyStoppingConfig(patience=patience)) == epochs


def keras_stops_in(values, patience, min_delta):
    """keras.callbacks.EarlyStopping(monitor="val_loss", mode="min"), as its source has it."""
    best, wait = float("inf"), 0
    for epoch, value in enumerate(values):
        wait += 1
        if value < best - min_delta:
            best, wait = value, 0
        if wait >= patience and epoch > 0:
            return epoch + 1
    return None


@given(st.lists(st.integers(0, 30), min_size=1, max_size=50), st.integers(1, 6))
def test_stops_like_keras(tenths, patience):
    values = [tenth / 10 for tenth in tenths]
    config = EarlyStoppingConfig(patience=patience, min_delta=0.05)
    assert stops_in(values, config) == keras_stops_in(values, patience, 0.05)


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("val_accuracy", [0.1, 0.5, 0.4, 0.5], 1),
        ("val_mean_recall", [0.3, 0.2, 0.1], 0),
        ("val_loss", [3.0, 1.0, 2.0, 1.0], 1),
        ("val_loss", [math.nan, 3.0, 1.0, math.nan], 2),
        ("val_accuracy", [math.nan, 0.2, 0.1], 1),
        ("val_loss", [2.0, -math.inf], 0),
    ],
)
def test_keeps_the_first_of_the_best(monitor, values, best):
    model = nn.Linear(1, 1, bias=False)
    task = LesionTask.__new__(LesionTask)
    nn.Module.__init__(task)
    task.model = model
    keep = KeepBest(monitor)
    for epoch, value in enumerate(values):
        nn.init.constant_(model.weight, epoch)
        task.val_summary = {monitor: value}
        keep.on_validation_end(SimpleNamespace(current_epoch=epoch), task)
    assert (keep.epoch, keep.value) == (best, values[best])
    assert keep.best["weight"].item() == best
