"""The checkpoint of the last whole epoch, from which a run resumes: it is whole, or it is the one before."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dermlens.atomic import atomic_path
from dermlens.errors import UserError

NAME = "last.ckpt"


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes beside the file and renames; reads nothing that could run code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            UserError: it cannot be written, mostly for want of space; the previous one is untouched.
        """
        del storage_options
        path = Path(path)
        try:
            with atomic_path(path) as part:
                torch.save(checkpoint, part)
        except (OSError, RuntimeError) as error:
            # PyTorch's own writer reports a full disk as a RuntimeError without a number.
            reason = error.strerror if isinstance(error, OSError) else "the disk is probably full"
            after = "the one of the epoch before is kept" if path.is_file() else "there is none before it"
            raise UserError(
                f"{path}: the checkpoint cannot be written ({reason}) and {after}; make room, then"
                f" `dermlens train --resume {path.parent.parent}`"
            ) from error

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read a checkpoint of tensors and plain values.

        Raises:
            UserError: the file is not a whole checkpoint of ours.
        """
        del map_location, weights_only
        try:
            _check_sums(path)
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (
            pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile,
        ) as error:  # fmt: skip
            raise UserError(
                f"{path} is not a checkpoint that can be read: delete it to begin anew"
            ) from error
        return checkpoint


def _check_sums(path: Path) -> None:
    """Compare every tensor with its CRC-32, which PyTorch writes and does not look at itself.

    Raises:
        ValueError: bits have changed. Others, as zipfile raises them: it is no whole archive.
    """
    with zipfile.ZipFile(path) as archive:
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} is damaged")


class SaveEpoch(Checkpoint):
    """Saves at the end of each epoch, after every other callback has had its say (Lightning puts it last)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint; in a distributed run every process calls and the first writes."""
        del pl_module
        trainer.save_checkpoint(self.path)
