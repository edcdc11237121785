"""A frozen backbone for the first epochs, so that a new head does not disturb pretrained weights."""

from __future__ import annotations

import lightning.pytorch as pl
from torch import nn

from dermlens.training.task import LesionTask


class FrozenBackbone(pl.Callback):
    """Trains only what follows the backbone for some epochs, then everything.

    Its batch norms stand still too: they normalise by their stored statistics and do not update them.
    The state is a function of the epoch alone, so that a resumed run needs to remember nothing.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.trainable: list[nn.Parameter] = []

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note which parameters train at all."""
        del trainer, stage
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
