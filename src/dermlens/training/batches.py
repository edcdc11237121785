"""The batches of each epoch, as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor

from dermlens.data.augment import Augmentation
from dermlens.data.loaders import BatchLoader, make_loader
from dermlens.recipe import Recipe
from dermlens.training.inputs import Inputs

Batch = dict[str, Tensor]

VALIDATION_BATCH = 64
"""At least so many images at a time where no gradient is kept; what comes out does not depend on it."""


class Batches:
    """One epoch of one role. Lightning wants DataLoaders to have workers; ours has no work for them."""

    def __init__(self, loader: BatchLoader) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)


class EpochBatches(pl.LightningDataModule):
    """A new order and new views of the training images for each epoch; the monitored role as it stands.

    What an epoch brings depends on the recipe's seed, the epoch and the process, not on what came before.

    Args:
        inputs: the data.
        recipe: batch size, roles, augmentation, seed.
        world: processes that share a batch.
    """

    def __init__(self, inputs: Inputs, recipe: Recipe, *, world: int) -> None:
        super().__init__()
        self.inputs, self.recipe, self.world = inputs, recipe, world
        self.augment = Augmentation(recipe.augment) if recipe.augment is not None else None
        self.generator = torch.Generator()

    def train_dataloader(self) -> Batches:
        """The batches of the epoch that begins."""
        assert self.trainer is not None
        epoch, rank = self.trainer.current_epoch, self.trainer.global_rank
        self.generator.manual_seed(drawn_seed(self.recipe.seed, epoch, rank, "views"))
        plan = self.recipe.augment is not None and self.recipe.augment.offline_plan
        return self._batches(
            "train", self.recipe.train.batch_size // self.world, epoch=epoch, shuffle=True, plan=plan
        )

    def val_dataloader(self) -> Batches:
        """The images that give `val_*`."""
        role = self.recipe.train.monitor_role
        return self._batches(role, max(self.recipe.train.batch_size, VALIDATION_BATCH))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Draw a new view of each training image, on the device."""
        del dataloader_idx
        assert self.trainer is not None
        if self.trainer.training and self.augment is not None:
            # Under the offline plan the originals of a folder stay as they are.
            mask_B = batch["augment"] if self.augment.config.offline_plan else None
            batch = batch | {"image": self.augment(batch["image"], self.generator, mask_B)}
        return batch

    def _batches(
        self, role: str, batch_size: int, *, epoch: int = 0, shuffle: bool = False, plan: bool = False
    ) -> Batches:
        assert self.trainer is not None
        inputs = self.inputs
        loader = make_loader(
            inputs.cache,
            inputs.rows(role),
            inputs.meta_NM,
            inputs.target_N,
            batch_size,
            seed=self.recipe.seed,
            epoch=epoch,
            shuffle=shuffle,
            plan=plan,
            rank=self.trainer.global_rank,
            world=self.world,
        )
        return Batches(loader)


def drawn_seed(seed: int, epoch: int, rank: int, purpose: str) -> int:
    """A seed of its own for each epoch, process and purpose of a run, far from its neighbours'."""
    return int(np.random.SeedSequence([seed, epoch, rank, *purpose.encode()]).generate_state(1)[0])
