"""What a training reads: table, split, pixels and encoded metadata, checked before anything is trained.

Shapes: N images of the table, M metadata width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from dermlens.data.cache import PixelCache, open_cache
from dermlens.data.metadata import MetadataEncoder, make_encoder
from dermlens.data.split import Split, check_disjoint, load_manifest, resolve_split
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.models.table import BACKBONES
from dermlens.recipe import Recipe


@dataclass(frozen=True)
class Sorted:
    """A recipe's images by role, before any of them is looked at.

    Attributes:
        table: all images of the folder.
        split: their roles; images may have none.
        warnings: what crosses roles, under a protocol that lets it.
    """

    table: pd.DataFrame
    split: Split
    warnings: list[str]


@dataclass(frozen=True)
class Inputs:
    """A recipe's data.

    Attributes:
        table: all images of the folder, N rows, in the order of the cache.
        split: their roles; images may have none.
        warnings: what crosses roles, under a protocol that lets it.
        size: side of the square input in pixels.
        cache: the pixels.
        encoder: fitted on the training role.
        meta_NM: encoded metadata, float32.
        target_N: class indices.
    """

    table: pd.DataFrame
    split: Split
    warnings: list[str]
    size: int
    cache: PixelCache
    encoder: MetadataEncoder
    meta_NM: npt.NDArray[np.float32]
    target_N: npt.NDArray[np.int64]

    def rows(self, role: str) -> npt.NDArray[np.int64]:
        """Where the images of a role stand in the table, ascending."""
        return np.flatnonzero(self.table["image_id"].isin(self.split.ids(role)))


def read_sorted(recipe: Recipe, data: Path, *, manifest: Path | None = None) -> Sorted:
    """Read the table, split and check: what can be wrong with data and recipe before a run is made of them.

    Args:
        recipe: of the run.
        data: the data folder.
        manifest: the split of a run that is resumed, which wins over the recipe's.

    Raises:
        UserError: whatever is wrong with the table or the split, or a role that the recipe watches is not in
            the split.
    """
    table = read_configured(data, recipe.data)
    if manifest is None:
        split = resolve_split(table, recipe.split)
    else:
        split = load_manifest(str(manifest), table, "name the data that the run began with, by --data")
    warnings = check_disjoint(split, table, split.protocol)
    _check_roles(recipe, split)
    return Sorted(table, split, warnings)


def read_inputs(recipe: Recipe, images: Sorted, *, cache_root: Path | None = None) -> Inputs:
    """Read pixels and encode.

    Args:
        recipe: of the run.
        images: by role.
        cache_root: where pixel caches are; none takes the default place.

    Raises:
        UserError: an image cannot be read, or the cache cannot be written.
    """
    table, split = images.table, images.split
    train = table[table["image_id"].isin(split.ids("train"))]
    if recipe.data.metadata != "none" and recipe.model.metadata == "none":
        # An encoder that nothing reads would still travel with the model and be asked for at prediction.
        kind = "none"
    else:
        kind = recipe.data.metadata
    encoder = make_encoder(kind).fit(train["age"], train["sex"].tolist(), train["site"].tolist())
    size = recipe.data.size or BACKBONES[recipe.model.backbone].size
    position = {code: index for index, code in enumerate(recipe.data.classes)}
    return Inputs(
        table=table,
        split=split,
        warnings=images.warnings,
        size=size,
        cache=open_cache(table, size=size, crop=recipe.data.crop, root=cache_root),
        encoder=encoder,
        meta_NM=encoder.encode(table["age"], table["sex"].tolist(), table["site"].tolist()),
        target_N=np.array([position[code] for code in table["dx"]], dtype=np.int64),
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
    if watched == "test" and split.protocol == "grouped":
        raise UserError(
            "train.monitor_role test would choose the epoch on the test role, which a grouped split keeps"
            " unseen; use selection"
        )
