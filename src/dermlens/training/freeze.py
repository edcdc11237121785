"""Parts of a pretrained backbone that do not learn: all of it at first, or its first blocks for good."""

from __future__ import annotations

import lightning.pytorch as pl
from torch import nn

from dermlens.errors import UserError
from dermlens.training.optimisers import backbone_blocks
from dermlens.training.task import LesionTask


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
