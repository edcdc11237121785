"""Checkpoints to resume from, what a run began with, when to stop, and which weights to keep."""

from __future__ import annotations

import hashlib
import math
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.plugins.io import TorchCheckpointIO
from pydantic import ValidationError
from torch import Tensor

from dermlens.errors import UserError
from dermlens.files import atomic_path
from dermlens.recipe import Recipe, updated_recipe
from dermlens.runs import Run
from dermlens.sections import EarlyStoppingConfig, Monitor
from dermlens.training.inputs import Inputs
from dermlens.training.task import LesionTask

# The checkpoint of the last whole epoch, from which a run resumes: it is whole, or it is the one before.


CHECKPOINT_FILE = "last.ckpt"


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes next to the file and renames; reads nothing that could run code."""

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
            with zipfile.ZipFile(path) as archive:  # PyTorch writes CRC-32 sums and does not look at them
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"{damaged} is damaged")
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (
            pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile,
        ) as error:  # fmt: skip
            raise UserError(
                f"{path} is not a checkpoint that can be read: delete it to begin anew"
            ) from error
        return checkpoint


class SaveEpoch(Checkpoint):
    """Saves at the end of each epoch, after all other callbacks (Lightning puts it last)."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / CHECKPOINT_FILE

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the checkpoint; in a distributed run every process calls and the first writes."""
        del pl_module
        trainer.save_checkpoint(self.path)


# What a run began with, so that one which was stopped goes on with nothing else.


KEY = "began_with"
"""Of run.json."""
SHOWN = 3
"""Keys of a recipe that a sentence names."""


def begun_with(recipe: Recipe, inputs: Inputs) -> dict[str, Any]:
    """Everything that decides what is learned.

    Returns:
        `recipe`, resolved; and SHA-256 sums: `split` of the manifest's text, `labels` of diagnoses, metadata,
        weights and soft labels as the network gets them, `pixels` of the check sums of all images.
    """
    parts: list[np.ndarray] = [inputs.target_N, inputs.meta_NM]
    parts += [part.numpy() for part in (inputs.weight_N, inputs.soft_NC) if part is not None]
    labels = hashlib.sha256()
    for part in parts:
        labels.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
    return {
        "recipe": recipe.model_dump(mode="json"),
        "split": hashlib.sha256(inputs.split.text().encode()).hexdigest(),
        "labels": labels.hexdigest(),
        "pixels": inputs.cache.sha256(),
    }


def check_unchanged(run: Run, now: Mapping[str, Any]) -> None:
    """Refuse to go on with another recipe, split or data than a run began with.

    Args:
        run: with a checkpoint; runs of earlier versions do not say what they began with.
        now: of `begun_with`.

    Raises:
        UserError: it names what has changed.
    """
    before = run.read_record().began_with
    if before is None:
        return
    keys = list(_changed(_with_defaults(before["recipe"]), now["recipe"]))
    named = f"{run.recipe_file} ({', '.join(keys[:SHOWN])}{' and others' if len(keys) > SHOWN else ''})"
    changed = [named] if keys else []
    changed += [
        label
        for part, label in (
            ("split", str(run.split_file)),
            ("labels", "the diagnoses or metadata of the images"),
            ("pixels", "the images themselves"),
        )
        if before[part] != now[part]
    ]
    if changed:
        raise UserError(
            f"run {run.path} has changed since it began: {'; '.join(changed)}. Undo that, or train into a"
            " folder of its own"
        )


def _with_defaults(recipe: dict[str, Any]) -> dict[str, Any]:
    """A stored recipe with the keys of now, new ones at their defaults; as it is where it is none now."""
    try:
        return Recipe.model_validate(updated_recipe(recipe)).model_dump(mode="json")
    except ValidationError:
        return recipe


def _changed(before: Any, now: Any, path: str = "") -> Iterator[str]:
    """The keys, dotted, that differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            yield from _changed(before.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif before != now:
        yield path


# When to stop and which weights to keep, by the rules of the authors' notebooks.


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


# An exponential moving average of the weights, which is scored and kept in their stead.
#
# Batch-norm statistics are averaged like the weights they belong to (as timm does it, unlike copying the
# latest ones): they then describe the activations of about the same stretch of training. Counters are copied.


class WeightAverage(pl.Callback):
    """Averages after each step; stands in for the weights while they are validated.

    The decay of step t is min(decay, (1 + t)/(10 + t)), TensorFlow's rule, so that short runs are not
    dominated by the random weights they began with.

    Attributes:
        average: the averaged state of the model, by name.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self.current: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are, or go on with what a checkpoint held."""
        del trainer
        assert isinstance(pl_module, LesionTask)
        # Parameters and buffers change in place, so that one dictionary of them stays valid all along.
        self.current = {name: tensor.detach() for name, tensor in pl_module.model.state_dict().items()}
        known = self.average or self.current
        self.average = {name: known[name].to(now.device, copy=True) for name, now in self.current.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average towards the weights."""
        del pl_module, outputs, batch, batch_idx
        steps = trainer.global_step
        decay = min(self.decay, (1 + steps) / (10 + steps))
        averages, currents = [], []
        for name, tensor in self.current.items():
            if tensor.is_floating_point():
                averages.append(self.average[name])
                currents.append(tensor)
            else:
                self.average[name].copy_(tensor)
        torch._foreach_lerp_(averages, currents, 1 - decay)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        self._swap()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer, pl_module
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        """Exchange the average and the weights, in place."""
        for name, tensor in self.current.items():
            kept = tensor.clone()
            tensor.copy_(self.average[name])
            self.average[name].copy_(kept)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average = state_dict["average"]
