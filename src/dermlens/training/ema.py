"""An exponential moving average of the weights, which is scored and kept in their stead.

Batch-norm statistics are averaged like the weights they belong to (as timm does it, unlike copying the
latest ones): they then describe the activations of about the same stretch of training. Counters are copied.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from dermlens.training.task import LesionTask


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
