"""What happens around steps and epochs: learning rates, frozen parts, the history, trackers."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from pathlib import Path
from typing import Any, Literal, get_args

import lightning.pytorch as pl
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from dermlens.errors import UserError, nearest, require
from dermlens.files import write_text
from dermlens.recipe import Recipe
from dermlens.sections import ScheduleConfig
from dermlens.training.optimisers import backbone_blocks
from dermlens.training.task import LesionTask

# How the learning rate moves: a callback, so that what it knows is in a checkpoint of the same epoch.
#
# Lightning steps plateau schedulers after the callbacks that save, so a run resumed from there would see
# another learning rate than the one that was never stopped.


KERAS_MIN_DELTA = 1e-4
"""What Keras's ReduceLROnPlateau takes for an improvement by default; the authors kept it."""


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
    """Keras's ReduceLROnPlateau on `val_loss`, as the authors' notebooks run it."""

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


# Parts of a pretrained backbone that do not learn: all of it at first, or its first blocks for good.


class FrozenBackbone(pl.Callback):
    """Trains only what follows the backbone for some epochs, so that a new head does not disturb it.

    Its batch norms stand still too: they normalise by their stored statistics and do not update them.
    The state is a function of the epoch alone, so that a resumed run needs to remember nothing.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.trainable: list[nn.Parameter] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note which parameters train at all, once `FrozenBlocks` has taken its own away."""
        del trainer
        assert isinstance(pl_module, LesionTask)
        self.trainable = [p for p in pl_module.model.backbone.parameters() if p.requires_grad]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze or thaw."""
        assert isinstance(pl_module, LesionTask)
        frozen = trainer.current_epoch < self.epochs
        for parameter in self.trainable:
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None
        pl_module.model.backbone.train(not frozen)


class FrozenBlocks(pl.Callback):
    """Leaves the first blocks of the backbone as they were pretrained, statistics of batch norms included.

    Edges and colours are the same in dermoscopy, and the backward pass of the first blocks, whose maps are
    the largest, is spared: without its first two stages EfficientNet-Lite0 at 192 px takes 0.6 of the time.

    Args:
        blocks: how many, counted as for layer-wise rates.
    """

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.frozen: list[nn.Module] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Freeze, before the optimiser is made.

        Raises:
            UserError: the backbone has no more blocks than are to be frozen.
        """
        del trainer, stage
        assert isinstance(pl_module, LesionTask)
        blocks = backbone_blocks(pl_module.model)
        if self.blocks >= len(blocks):
            raise UserError(
                f"train.frozen_blocks {self.blocks}: there are {len(blocks)} blocks, and one must learn:"
                f" {', '.join(block.removeprefix('backbone.') for block in blocks)}"
            )
        self.frozen = [pl_module.model.get_submodule(block) for block in blocks[: self.blocks]]
        for module in self.frozen:
            module.requires_grad_(False)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let their batch norms stand still; validation sets all modules to training again after it."""
        del trainer, pl_module
        for module in self.frozen:
            module.eval()


# What each epoch came to: history.csv, a line for who watches, and the trackers.


COLUMNS = (
    "epoch", "step", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_mean_recall", "lr",
    "seconds",
)  # fmt: skip
"""`epoch` counts from 0; `val_*` are empty in a run that validates on nothing; `lr` is the epoch's last."""

Row = dict[str, float | int | None]


class History(pl.Callback):
    """Writes history.csv anew at each epoch's end: whole, and without the epochs that a resumed run repeats.

    It stands before the schedule in the list of callbacks, to see the rate that the epoch was trained with.

    Args:
        path: of the file.

    Attributes:
        rows: the epochs so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.began = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a row; write and show it."""
        assert isinstance(pl_module, LesionTask)
        assert trainer.max_epochs is not None
        train = pl_module.train_summary()  # sums over the processes, so that each of them has to ask
        if not trainer.is_global_zero:
            return
        facts: Row = {
            "epoch": trainer.current_epoch,
            "step": trainer.global_step,
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": round(time.perf_counter() - self.began, 3),
        }
        row: Row = {name: (facts | train | pl_module.val_summary).get(name) for name in COLUMNS}
        self.rows.append(row)
        write_text(self.path, as_csv(self.rows))
        bar = trainer.progress_bar_callback
        show = bar.print if bar is not None else print  # a bar keeps its own line below ours
        show(as_line(row, trainer.max_epochs))
        measured = {name: value for name, value in row.items() if value is not None and name != "epoch"}
        for logger in trainer.loggers:
            logger.log_metrics(measured, step=trainer.current_epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


def as_csv(rows: list[Row]) -> str:
    """The rows as they stand in history.csv, numbers with the digits that give them back exactly."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def as_line(row: Row, epochs: int) -> str:
    """An epoch in words, counted from 1 as people count."""

    def shown(name: str, form: str) -> str:
        value = row[name]
        return "–" if value is None else format(value, form)

    assert row["epoch"] is not None
    return (
        f"epoch {int(row['epoch']) + 1:>{len(str(epochs))}}/{epochs}  train loss "
        f"{shown('train_loss', '.4f')}  val loss {shown('val_loss', '.4f')}  accuracy "
        f"{shown('val_accuracy', '.4f')}  mean recall {shown('val_mean_recall', '.4f')}  "
        f"{shown('seconds', '.1f')} s"
    )


# TensorBoard and MLflow, for those who want a run there as well.


Tracker = Literal["csv", "tensorboard", "mlflow"]


def check_tracker(tracker: str) -> None:
    """Refuse a tracker that is not there before a run begins.

    Raises:
        UserError: an unknown tracker, its package is not installed, or MLflow has no server.
    """
    if tracker not in get_args(Tracker):
        raise UserError(f"--logger {tracker} is not known{nearest(tracker, get_args(Tracker))}")
    if tracker != "csv":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports its use to its makers
        require(tracker, "track")
    if tracker == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "--logger mlflow needs MLFLOW_TRACKING_URI, the address of an MLflow server such as"
            " http://localhost:5000"
        )


def make_loggers(tracker: str, folder: Path, recipe: Recipe) -> list[Any]:
    """The Lightning loggers of a run.

    Args:
        tracker: `csv` is none but history.csv; `tensorboard` writes into the run directory; `mlflow`
            sends to the server that MLFLOW_TRACKING_URI names.
        folder: the run directory.
        recipe: logged as the run's parameters.

    Returns:
        One logger, or none.
    """
    if tracker == "csv":
        return []
    from lightning.pytorch import loggers

    logger: Any
    if tracker == "tensorboard":
        logger = loggers.TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)
    else:
        uri = os.environ["MLFLOW_TRACKING_URI"]
        logger = loggers.MLFlowLogger(experiment_name="dermlens", run_name=folder.name, tracking_uri=uri)
    logger.log_hyperparams(recipe.model_dump(mode="json"))
    return [logger]
