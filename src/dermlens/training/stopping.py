"""When to stop and which weights to keep, by the authors' rules (P§3)."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor

from dermlens.training.config import EarlyStoppingConfig, Monitor
from dermlens.training.task import LesionTask


def _smaller_is_better(monitor: Monitor) -> bool:
    return monitor == "val_loss"


class StopEarly(EarlyStopping):
    """Keras's EarlyStopping: stop in the epoch that makes `patience` without a gain of `min_delta`."""

    def __init__(self, config: EarlyStoppingConfig) -> None:
        super().__init__(
            config.monitor,
            min_delta=config.min_delta,
            patience=config.patience,
            mode="min" if _smaller_is_better(config.monitor) else "max",
            check_on_train_epoch_end=False,
            check_finite=False,  # the task ends a diverged run with a sentence of its own
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that was killed between its last epoch and its end must not train another on resuming."""
        del pl_module
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class KeepBest(pl.Callback):
    """Holds the weights of the best epoch so far; of equals the first, as Keras's checkpoint does.

    An epoch whose score is not a number is never the best, the first epoch neither.

    It stands before the weight average in the list of callbacks, and so sees the averaged weights that
    were scored.

    Attributes:
        best: the state of the model in that epoch, on the CPU; empty while there is none.
        value: its score.
        epoch: counted from 0.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.best: dict[str, Tensor] = {}
        self.value: float | None = None
        self.epoch: int | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take a copy if this epoch is better than all before."""
        assert isinstance(pl_module, LesionTask)
        value = pl_module.val_summary[self.monitor]
        sign = -1 if _smaller_is_better(self.monitor) else 1
        if not math.isfinite(value):
            return
        if self.value is None or sign * value > sign * self.value:
            state = pl_module.model.state_dict()
            self.best = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
            self.value, self.epoch = value, trainer.current_epoch

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "value": self.value, "epoch": self.epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.value, self.epoch = (state_dict[name] for name in ("best", "value", "epoch"))
