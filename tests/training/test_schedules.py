"""Rates by the rules of the paper's framework."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dermlens.sections import ScheduleConfig
from dermlens.training.callbacks import KERAS_MIN_DELTA, Plateau, cosine_share
from dermlens.training.task import LesionTask


def keras_plateau(losses, *, lr, factor, patience, min_lr):
    """keras.callbacks.ReduceLROnPlateau(monitor="val_loss"), as in its source; the rate after each epoch."""
    best, wait, rates = float("inf"), 0, []
    for loss in losses:
        if loss < best - KERAS_MIN_DELTA:
            best, wait = loss, 0
        else:
            wait += 1
            if wait >= patience and lr > min_lr:
                lr, wait = max(lr * factor, min_lr), 0
        rates.append(lr)
    return rates


def ours(losses, config, lr, restart_after=None):
    """The callback under a stand-in trainer; optionally a new one takes over from its state."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    trainer, task = SimpleNamespace(optimizers=[optimizer]), LesionTask.__new__(LesionTask)
    torch.nn.Module.__init__(task)
    plateau, rates = Plateau(config), []
    plateau.on_train_start(trainer, task)
    for epoch, loss in enumerate(losses):
        if epoch == restart_after:
            state, plateau = plateau.state_dict(), Plateau(config)
            plateau.load_state_dict(state)
            plateau.on_train_start(trainer, task)
        task.val_summary = {"val_loss": loss}
        plateau.on_train_epoch_end(trainer, task)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


losses = st.lists(st.floats(0.01, 3, allow_nan=False), min_size=1, max_size=60)


@given(losses, st.integers(1, 6), st.integers(0, 30))
def test_plateau_is_keras_s(losses, patience, restart_after):
    config = ScheduleConfig(kind="plateau", patience=patience)
    expected = keras_plateau(losses, lr=1e-3, factor=0.2, patience=patience, min_lr=1e-7)
    assert ours(losses, config, 1e-3) == pytest.approx(expected)
    assert ours(losses, config, 1e-3, restart_after) == pytest.approx(expected)


def test_plateau_falls_to_the_floor_of_the_paper():
    """0.001 by 0.2 again and again: six reductions, the last one cut short at 1e-7."""
    rates = ours([1.0] * 60, ScheduleConfig(kind="plateau"), 1e-3)
    assert sorted(set(rates), reverse=True) == pytest.approx([1e-3, 2e-4, 4e-5, 8e-6, 1.6e-6, 3.2e-7, 1e-7])
    assert rates.index(min(rates)) == 5 * 6  # one epoch sets the best, and each reduction takes five


@given(st.integers(2, 500), st.data())
def test_cosine_rises_to_one_and_falls_to_zero(steps, data):
    warmup = data.draw(st.integers(0, steps - 2))
    shares = [cosine_share(step, steps=steps, warmup=warmup) for step in range(steps)]
    assert all(0 < share <= 1 for share in shares[:-1])
    assert shares[-1] == pytest.approx(0, abs=1e-12)
    assert shares[:warmup] == sorted(shares[:warmup])
    assert shares[warmup:] == sorted(shares[warmup:], reverse=True)
    assert max(shares) == 1


def test_cosine_against_pytorchs():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=99)
    for step in range(100):
        assert cosine_share(step, steps=100, warmup=0) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        scheduler.step()
