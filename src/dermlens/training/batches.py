"""The batches of each epoch, as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from dermlens.data.augment.augmentation import Augmentation, MetadataDropout
from dermlens.data.augment.geometry import mix
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
        hiding = recipe.augment.metadata_dropout if recipe.augment is not None else None
        self.hide = MetadataDropout(hiding, inputs.encoder, inputs.sources) if hiding is not None else None
        self.generator = torch.Generator()

    def train_dataloader(self) -> Batches:
        """The batches of the epoch that begins."""
        assert self.trainer is not None
        epoch, rank = self.trainer.current_epoch, self.trainer.global_rank
        self.generator.manual_seed(drawn_seed(self.recipe.seed, epoch, rank, "views"))
        rows = self.inputs.sampled(self.recipe, epoch)
        return self._batches(
            rows,
            self.recipe.train.batch_size // self.world,
            epoch=epoch,
            shuffle=True,
            plan=self.recipe.paper.offline_plan,
        )

    def val_dataloader(self) -> Batches:
        """The images that give `val_*`."""
        rows = self.inputs.rows(self.recipe.train.monitor_role)
        return self._batches(rows, max(self.recipe.train.batch_size, VALIDATION_BATCH))

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Draw a new view of each training image, on the device, at the size of the epoch."""
        del dataloader_idx
        assert self.trainer is not None
        if not self.trainer.training:
            return batch
        batch = batch | {"image": resized(batch["image"], self._side())}
        source_B = torch.from_numpy(self.inputs.source_N[batch["row"].cpu().numpy()])
        batch["source"] = source_B.to(batch["image"].device)
        for name, values_N in (("weight", self.inputs.weight_N), ("soft", self.inputs.soft_NC)):
            if values_N is not None:
                batch[name] = values_N[batch["row"].cpu()].to(batch["image"].device)
        if self.augment is not None:
            # Under the offline plan the originals of a folder stay as they are.
            mask_B = batch["augment"] if self.recipe.paper.offline_plan else None
            batch["image"] = self.augment(batch["image"], self.generator, mask_B)
            if self.augment.config.mix is not None:
                mixed = mix(self.augment.config.mix, batch["image"], self.generator)
                batch["image"], batch["partner"], batch["share"] = mixed
        if self.hide is not None:
            batch["meta"] = self.hide(batch["meta"], batch["source"], self.generator)
        return batch

    def _side(self) -> int:
        """The size of the epoch, under progressive resizing a smaller one at first."""
        assert self.trainer is not None
        epoch = self.trainer.current_epoch
        sizes = (step.size for step in self.recipe.train.resize if epoch < step.until)
        return next(sizes, self.inputs.size)

    def _batches(
        self,
        rows: npt.NDArray[np.int64],
        batch_size: int,
        *,
        epoch: int = 0,
        shuffle: bool = False,
        plan: bool = False,
    ) -> Batches:
        assert self.trainer is not None
        inputs = self.inputs
        loader = make_loader(
            inputs.cache,
            rows,
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


def resized(x_BCHW: Tensor, side: int) -> Tensor:
    """Square images at another side, antialiased; uint8, as they are if they have it."""
    if x_BCHW.shape[-1] == side:
        return x_BCHW
    return F.interpolate(x_BCHW, size=(side, side), mode="bilinear", antialias=True)


def drawn_seed(seed: int, epoch: int, rank: int, purpose: str) -> int:
    """A seed of its own for each epoch, process and purpose of a run, far from its neighbours'."""
    return int(np.random.SeedSequence([seed, epoch, rank, *purpose.encode()]).generate_state(1)[0])
