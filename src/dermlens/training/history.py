"""What each epoch came to: history.csv, a line for who watches, and the trackers."""

from __future__ import annotations

import csv
import io
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from dermlens.atomic import write_text
from dermlens.training.task import LesionTask

COLUMNS = (
    "epoch",
    "step",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_mean_recall",
    "lr",
    "seconds",
)
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
        f"epoch {int(row['epoch']) + 1:>{len(str(epochs))}}/{epochs}"
        f"  train loss {shown('train_loss', '.4f')}"
        f"  val loss {shown('val_loss', '.4f')}"
        f"  accuracy {shown('val_accuracy', '.4f')}"
        f"  mean recall {shown('val_mean_recall', '.4f')}"
        f"  {shown('seconds', '.1f')} s"
    )
