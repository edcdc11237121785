"""What a training reads, checked before anything is trained, and the batches of each epoch.

Shapes: N images of the table, M metadata width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from dermlens.data.augment.augmentation import Augmentation, MetadataDropout
from dermlens.data.augment.geometry import mix
from dermlens.data.cache import PixelCache, open_cache
from dermlens.data.leak import check_disjoint
from dermlens.data.loaders import BatchLoader, make_loader
from dermlens.data.manifest import BY_LESION, Split, load_manifest, make_roles
from dermlens.data.split import absent_classes, resolve_split, shuffled_metadata
from dermlens.data.table import Reading, read_configured_set, read_set
from dermlens.errors import UserError, nearest
from dermlens.models.table import row_of
from dermlens.predict.metadata import MetadataEncoder, make_encoder
from dermlens.recipe import Recipe
from dermlens.sections import LesionSamplerConfig
from dermlens.training.losses import read_soft_labels
from dermlens.training.sampling import epoch_positions

SAMPLER_STREAM = 1
"""Sets the sampler's draws apart from those of the order, which come from the same seed and epoch."""


@dataclass(frozen=True)
class RolePlan:
    """A recipe's images by role, before any of them is looked at.

    Attributes:
        table: all images of the folder, and behind them those of `data.also_train`.
        own: how many are of the folder.
        split: the roles of the folder's images, which may have none; the others train.
        warnings: what crosses roles, under a protocol that lets it; classes without an image in a role.
        accounts: which tables were read, and what was made of them, a sentence each.
    """

    table: pd.DataFrame
    own: int
    split: Split
    warnings: list[str]
    accounts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Inputs:
    """A recipe's data.

    Attributes:
        table: all images of the folder, and behind them those of `data.also_train`; N rows, in the order of
            the cache.
        own: how many are of the folder.
        split: the roles of the folder's images, which may have none; the others train.
        warnings: what crosses roles, under a protocol that lets it.
        size: side of the square input in pixels.
        cache: the pixels.
        encoder: fitted on the training role.
        meta_NM: encoded metadata, float32.
        target_N: class indices.
        source_N: places in `sources`.
        weight_N: how much each image counts, float32; none where all count alike.
        soft_NC: soft labels, float32, rows of 0 where there are none; none without distillation.
    """

    table: pd.DataFrame
    own: int
    split: Split
    warnings: list[str]
    size: int
    cache: PixelCache
    encoder: MetadataEncoder
    meta_NM: npt.NDArray[np.float32]
    target_N: npt.NDArray[np.int64]
    source_N: npt.NDArray[np.int64]
    weight_N: Tensor | None
    soft_NC: Tensor | None

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of the table, in alphabetical order."""
        return tuple(sorted(set(self.table["source"])))

    def rows(self, role: str) -> npt.NDArray[np.int64]:
        """Where the images of a role stand in the table, ascending."""
        return rows_of(role, self.table, self.own, self.split)

    def sampled(self, recipe: Recipe, epoch: int) -> npt.NDArray[np.int64]:
        """The images that an epoch trains on, where they stand in the table, in no order yet.

        Raises:
            UserError: the sampler names a class that is not there.
        """
        rows = self.rows("train")
        positions = epoch_positions(
            recipe.imbalance.sampler,
            self.target_N[rows],
            self.table["lesion_id"].iloc[rows].tolist(),
            np.random.default_rng([recipe.seed, epoch, SAMPLER_STREAM]),
            recipe.data.classes,
            self.table["source"].iloc[rows].tolist(),
        )
        return rows[positions]


def read_role_plan(recipe: Recipe, data: Path, *, manifest: Path | None = None) -> RolePlan:
    """Read the table, split and check: what can be wrong with data and recipe before a run is made of them.

    Args:
        recipe: of the run.
        data: the data folder.
        manifest: the split of a run that is resumed, which wins over the recipe's.

    Raises:
        UserError: whatever is wrong with the table or the split, or a role that the recipe watches is not in
            the split.
    """
    read = read_configured_set(data, recipe.data)
    table, accounts = read.table, read.account.sentences()
    own = len(table)
    if manifest is None:
        split = resolve_split(table, recipe.split, read.roles, siblings=recipe.paper.siblings)
    else:
        split = load_manifest(str(manifest), table, "name the data that the run began with, by --data")
    _check_roles(recipe, split)
    further = [_further(data, folder, recipe) for folder in recipe.data.also_train]
    if further:
        table = pd.concat([table, *(one.table for one in further)], ignore_index=True)
        accounts += [line for one in further for line in one.account.sentences()]
        if twice := table.loc[table["image_id"].duplicated(), "image_id"].tolist():
            raise UserError(
                f"data.also_train: image {twice[0]} is in two of the folders; it can have one row"
            )
    _check_sources(recipe, table)
    train = dict.fromkeys(table["image_id"].iloc[own:], "train")
    roles = dict(zip(split.roles["image_id"], split.roles["role"], strict=True)) | train
    whole = Split(make_roles(table, roles), split.header)
    warnings = check_disjoint(whole, table, split.protocol)
    counts = {
        role: {code: of_role.get(code, 0) for code in recipe.data.classes}
        for role, of_role in whole.counts(table).items()
    }
    return RolePlan(table, own, split, [*warnings, *absent_classes(counts)], accounts)


def rows_of(role: str, table: pd.DataFrame, own: int, split: Split) -> npt.NDArray[np.int64]:
    """Where the images of a role stand in a table whose rows from `own` on only train, ascending."""
    is_of_role = np.array(table["image_id"].isin(split.ids(role)))
    is_of_role[own:] = role == "train"
    return np.flatnonzero(is_of_role)


def _further(data: Path, folder: str, recipe: Recipe) -> Reading:
    """One folder of `data.also_train`."""
    home = data if data.is_dir() else data.parent
    path = home.resolve().parent / folder
    if not path.exists():
        raise UserError(
            f"data.also_train: {path} does not exist; name a folder next to {home}, or an absolute path"
        )
    return read_set(path, classes=recipe.data.classes)


def read_inputs(recipe: Recipe, images: RolePlan, *, cache_root: Path | None = None) -> Inputs:
    """Read pixels and encode.

    Args:
        recipe: of the run.
        images: by role.
        cache_root: where pixel caches are; none takes the default place.

    Raises:
        UserError: an image cannot be read, or the cache cannot be written.
    """
    table, split = images.table, images.split
    train = table.iloc[rows_of("train", table, images.own, split)]
    if recipe.data.metadata != "none" and recipe.model.metadata == "none":
        # An encoder that nothing reads would still travel with the model and be asked for at prediction.
        kind = "none"
    else:
        kind = recipe.data.metadata
    encoder = make_encoder(kind).fit(train["age"], train["sex"].tolist(), train["site"].tolist())
    seen = as_the_network_sees(recipe, table)
    size = recipe.data.size or row_of(recipe.model.backbone).size
    position = {code: index for index, code in enumerate(recipe.data.classes)}
    taught = recipe.train.distillation
    return Inputs(
        table=table,
        own=images.own,
        split=split,
        warnings=images.warnings,
        size=size,
        cache=open_cache(
            table,
            size=size,
            crop=recipe.data.crop,
            colour_constancy=recipe.data.colour_constancy,
            root=cache_root,
        ),
        encoder=encoder,
        meta_NM=encoder.encode(seen["age"], seen["sex"].tolist(), seen["site"].tolist()),
        target_N=np.array([position[code] for code in table["dx"]], dtype=np.int64),
        source_N=np.unique(table["source"].to_numpy(dtype=str), return_inverse=True)[1].astype(np.int64),
        weight_N=_confirmation_weights(recipe, table),
        soft_NC=read_soft_labels(Path(taught.soft_labels), table["image_id"], recipe.data.classes)
        if taught is not None
        else None,
    )


def as_the_network_sees(recipe: Recipe, table: pd.DataFrame) -> pd.DataFrame:
    """A run's whole table as its network sees it: shuffled, where the recipe says so."""
    return shuffled_metadata(table, recipe.seed) if recipe.paper.metadata_shuffled else table


def _confirmation_weights(recipe: Recipe, table: pd.DataFrame) -> Tensor | None:
    """The weight of each image by how its diagnosis was confirmed; none if all weigh alike."""
    weights = recipe.imbalance.confirmation
    if not weights:
        return None
    ways = sorted(set(table["dx_type"].dropna().astype(str)))
    if unknown := [way for way in weights if way not in ways]:
        raise UserError(
            f"imbalance.confirmation: no image of the table was confirmed by {unknown[0]};"
            f" its ways are {', '.join(ways) or 'not given'}"
        )
    return torch.tensor([weights.get(way, 1.0) for way in table["dx_type"].astype(str)])


def _check_sources(recipe: Recipe, table: pd.DataFrame) -> None:
    """Refuse a recipe that names a source which is not there."""
    sources = sorted(set(table["source"]))
    sampler = recipe.imbalance.sampler
    hiding = recipe.augment.metadata_dropout if recipe.augment is not None else None
    named: dict[str, Iterable[str]] = {
        "data.squashed": recipe.data.squashed,
        "imbalance.sampler.by_source": sampler.by_source if isinstance(sampler, LesionSamplerConfig) else {},
        "augment.metadata_dropout.by_source": hiding.by_source if hiding is not None else {},
    }
    for key, found in named.items():
        if unknown := [source for source in found if source not in sources]:
            raise UserError(
                f"{key}: {unknown[0]} is no source of the table{nearest(unknown[0], sources)}; its"
                f" sources are {', '.join(sources)}"
            )


def _check_roles(recipe: Recipe, split: Split) -> None:
    """Refuse a recipe that watches a role which is not there, or which it must not see."""
    watched = recipe.train.monitor_role
    other = "set train.monitor_role to one of them or to none, or change the split section"
    for role, wanted, remedy in (
        ("train", "which the network learns from", "change the split section"),
        (watched, "which train.monitor_role watches", other),
    ):
        if role != "none" and not split.ids(role):
            raise UserError(
                f"the split has no image of role {role}, {wanted}: its roles are"
                f" {', '.join(split.role_names)}; {remedy}"
            )
    if watched == "test" and split.protocol in BY_LESION:
        raise UserError(
            "train.monitor_role test would choose the epoch on the test role, which the split keeps"
            " unseen; use selection"
        )


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
        plan = self.recipe.paper.offline_plan
        rows = self.inputs.sampled(self.recipe, epoch)
        return self._batches(
            rows, self.recipe.train.batch_size // self.world, epoch=epoch, shuffle=True, plan=plan
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
