"""How the learning rate moves: a callback, so that what it knows is in a checkpoint of the same epoch.

Lightning steps plateau schedulers after the callbacks that save, so a run resumed from there would see
another learning rate than the one that was never stopped.
"""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dermlens.training.config import ScheduleConfig
from dermlens.training.task import LesionTask

KERAS_MIN_DELTA = 1e-4
"""What Keras's ReduceLROnPlateau takes for an improvement unless told; the authors did not tell it."""


def cosine_share(step: int, *, steps: int, warmup: int) -> float:
    """The learning rate at a step between 0 (the floor) and 1 (the recipe's).

    Args:
        step: optimiser steps taken so far.
        steps: of the whole training.
        warmup: steps of the linear rise, the first of which already moves: 1/warmup.

    Returns:
        A share in [0, 1] that is 0 at the last step.
    """
    if step < warmup:
        return (step + 1) / warmup
    through = (step - warmup) / max(1, steps - 1 - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, through)))


class Cosine(pl.Callback):
    """Linear warm-up, then half a cosine to the floor; set before each step, from the step's number alone."""

    def __init__(self, config: ScheduleConfig, lr: float) -> None:
        self.config, self.lr = config, lr

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the rate of every group."""
        del pl_module, batch, batch_idx
        batches, epochs = trainer.num_training_batches, trainer.max_epochs
        assert isinstance(batches, int)
        assert epochs is not None
        share = cosine_share(
            trainer.global_step,
            steps=batches * epochs,
            warmup=round(batches * self.config.warmup_epochs),
        )
        for group in trainer.optimizers[0].param_groups:
            rate = self.config.min_lr + share * (self.lr - self.config.min_lr)
            group["lr"] = rate * group.get("rate_scale", 1.0)


class Plateau(pl.Callback):
    """Keras's ReduceLROnPlateau on `val_loss`, as the authors ran it (P§3)."""

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        self.scheduler: ReduceLROnPlateau | None = None
        self.restored: dict[str, Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take hold of the optimiser."""
        del pl_module
        self.scheduler = ReduceLROnPlateau(
            trainer.optimizers[0],
            factor=self.config.factor,
            # Keras reduces in the epoch that makes `patience` bad ones, PyTorch in the one after.
            patience=max(self.config.patience - 1, 0),
            threshold=KERAS_MIN_DELTA,
            threshold_mode="abs",
            min_lr=self.config.min_lr,
            eps=0.0,
        )
        if self.restored is not None:
            self.scheduler.load_state_dict(self.restored)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reduce the rate if this epoch has exhausted the patience."""
        del trainer
        assert isinstance(pl_module, LesionTask)
        assert self.scheduler is not None
        self.scheduler.step(pl_module.val_summary["val_loss"])

    def state_dict(self) -> dict[str, Any]:
        return self.scheduler.state_dict() if self.scheduler is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.restored = state_dict


def make_schedule(config: ScheduleConfig, lr: float) -> pl.Callback | None:
    """The callback that moves the learning rate; none for a constant one.

    Args:
        config: `train.schedule` of a recipe.
        lr: the optimiser's learning rate.
    """
    if config.kind == "cosine":
        return Cosine(config, lr)
    return Plateau(config) if config.kind == "plateau" else None
