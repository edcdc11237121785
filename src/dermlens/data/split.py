"""Roles for images: made by a protocol or read from a manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
from pydantic import ValidationError

from dermlens.data.config import DataConfig, Siblings, SplitConfig
from dermlens.data.leak import leak
from dermlens.data.manifest import BY_LESION, HOME, VERSION, Split, load_manifest, make_roles
from dermlens.data.protocols import (
    draw_folds,
    draw_grouped,
    draw_paper,
    draw_singletons,
    draw_source_folds,
    draw_sources,
    found_later,
    lesion_groups,
    patient_groups,
    take_given,
    without_source,
)
from dermlens.data.readers.account import Account
from dermlens.data.table import Maps, read_configured_set, read_set, table_sha256
from dermlens.errors import UserError


def absent_classes(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A sentence for each role in which a class has no image.

    Args:
        counts: images by role and class, every class with its number, 0 too.
    """
    notes = []
    for role, of_role in counts.items():
        absent = [code for code, count in of_role.items() if not count]
        if not absent or len(absent) == len(of_role):
            continue
        what = (
            "the network is never shown one"
            if role == "train"
            else f"means over classes are over {len(of_role) - len(absent)} of {len(of_role)}"
        )
        notes.append(f"{role}: {', '.join(absent)} {'has' if len(absent) == 1 else 'have'} no image; {what}")
    return notes


# A leak on purpose: what it is worth that other images of the scored lesions are trained on.
#
# Two splits of one fold that differ in nothing else. Both score one image of each of the fold's lesions, and
# both train on the other folds, on as many images of each class. `withheld` keeps the other images of the
# scored lesions, their siblings, out. `trained_on` puts them in, in place of as many images of their class.


def with_siblings(split: Split, table: pd.DataFrame, siblings: Siblings) -> Split:
    """Score one image a lesion of the selection role, the others being withheld or trained on.

    Which image is scored, and which make room, is drawn by a hash of the image ids: the same for both.

    Args:
        split: with train and selection, no lesion in both.
        table: the LesionTable that it was made for.
        siblings: what becomes of the other images of the scored lesions.

    Returns:
        The split; images that are neither scored nor trained on have no role in it. The protocol of
        `trained_on` is `siblings`, because it leaks.

    Raises:
        UserError: a class has fewer images to make room than siblings to put in.
    """
    known = table[["image_id", "dx"]].assign(group=lesion_groups(table))
    rows = split.roles.merge(known, on="image_id", validate="one_to_one")
    draws = [hashlib.sha256(f"siblings/{image}".encode()).hexdigest() for image in rows["image_id"]]
    rows = rows.assign(draw=draws).sort_values("draw")
    held = rows[rows["role"] == "selection"]
    scored = held.drop_duplicates("group")
    others = held.drop(index=scored.index)
    keep = rows["role"] != "selection"
    keep[scored.index] = True
    if siblings == "withheld":
        return Split(_roles(rows[keep]), split.header)
    for dx, number in others["dx"].value_counts().items():
        room = rows.index[(rows["role"] == "train") & (rows["dx"] == dx)]
        if len(room) < number:
            raise UserError(
                f"paper.siblings trained_on: {number} images of {dx} go in, and {len(room)} can make room"
            )
        keep[room[:number]] = False
    keep[others.index] = True
    rows.loc[others.index, "role"] = "train"
    return Split(_roles(rows[keep]), split.header | {"protocol": "siblings"})


def _roles(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("image_id", ignore_index=True)[["image_id", "lesion_id", "role"]]


# A placebo of metadata: every lesion gets the age, sex and site of another.


FIELDS = ("age", "sex", "site")


def shuffled_metadata(table: pd.DataFrame, seed: int, fields: Sequence[str] = FIELDS) -> pd.DataFrame:
    """A table whose lesions have changed patients among each other.

    The metadata of patients stays as common as it was, and has nothing to do with their lesions any more. All
    images of a lesion get the same, and no lesion keeps its own.

    Args:
        table: a LesionTable of two lesions or more.
        seed: of the draw.
        fields: what is exchanged, together; the rest stays.

    Returns:
        A copy; `table` stays as it is.
    """
    first = table.drop_duplicates("lesion_id")
    order_L = np.random.default_rng(seed).permutation(len(first))
    giver_L = np.empty_like(order_L)
    giver_L[order_L] = np.roll(order_L, 1)
    given = first.iloc[giver_L][list(fields)].set_axis(first["lesion_id"])
    return table.assign(**{name: given.loc[table["lesion_id"], name].to_numpy() for name in fields})


# The manifest `grouped-v1` is what `make_split(table, SplitConfig())` gives for HAM10000: by lesion, seed 0,
# 65 % to train, 10 % selection, 10 % calibration, 15 % test (`dermlens data split --data DIR`). Folds of one
# seed have its test lesions, another seed has others: to leave them alone, vary the fold and not the seed.


def make_split(table: pd.DataFrame, config: SplitConfig, given: Mapping[str, str] | None = None) -> Split:
    """Draw roles by the protocol of the configuration; `manifest` and `fold` are for `resolve_split`.

    Args:
        table: a LesionTable, rows in any order.
        config: protocol, shares, folds and seed.
        given: role by image id that the source gives, for protocol `given`.

    Returns:
        A split with roles, or with `fold-0` … and test where the configuration asks for folds.

    Raises:
        UserError: the draw is impossible, as with fewer images than classes, or more folds than lesions.
    """
    if config.folds is not None and config.protocol != "grouped":
        raise UserError(
            f"split.folds is for protocol grouped, and split.protocol is {config.protocol}; drop one"
        )
    if config.folds is not None:
        held = {"test": config.test}
        drawn = draw_folds(table, config.test, config.folds, config.seed)
        _check_folds(table, drawn, config.folds)
    elif config.protocol == "grouped":
        held = {"selection": config.selection, "calibration": config.calibration, "test": config.test}
        drawn = draw_grouped(table, held, config.seed)
    elif config.protocol == "paper":
        held = {"selection": config.holdout}
        drawn = draw_paper(table, config.holdout, config.seed)
    elif config.protocol == "sources":
        held = {"selection": config.selection, "calibration": config.calibration}
        home = load_manifest(HOME).roles
        drawn = draw_sources(table, dict(zip(home["image_id"], home["role"], strict=True)), held, config.seed)
    elif config.protocol == "singletons":
        held = {"test": config.holdout}
        drawn = draw_singletons(table, config.holdout, config.seed)
    else:
        held = {}
        drawn = take_given(given or {})
    if config.folds is None and config.protocol != "given":
        held = {"train": round(1 - sum(held.values()), 6)} | held
    header = {
        "manifest": VERSION,
        "protocol": config.protocol,
        "seed": str(config.seed),
        "fractions": " ".join(f"{role}={share}" for role, share in held.items()),
    }
    if config.protocol == "given":
        del header["seed"], header["fractions"]
    if config.protocol == "sources":
        header["home"] = HOME
    if config.folds is not None:
        header["folds"] = str(config.folds)
    header["table-sha256"] = table_sha256(table)
    return Split(make_roles(table, drawn), header)


def resolve_split(
    table: pd.DataFrame,
    config: SplitConfig,
    given: Mapping[str, str] | None = None,
    *,
    siblings: Siblings | None = None,
) -> Split:
    """The split that a run trains and scores with: final roles, made for this table.

    Args:
        table: the LesionTable of the run.
        config: `manifest` wins over `protocol`. With `folds`, the lesions outside the manifest's test role
            are cut anew into folds, and `fold` plays selection. A manifest that holds folds keeps its own.
        given: as for `make_split`.
        siblings: what becomes of the other images of the scored lesions, as for `with_siblings`; none has
            all of them scored.

    Raises:
        UserError: the manifest is missing, malformed or made for another table; folds that it cannot have.
    """
    if config.manifest is None:
        split = make_split(table, config, given)
    else:
        split = load_manifest(config.manifest, table)
        if config.folds is not None and not split.folds:
            split = _cut_into_folds(split, table, config.manifest, config.folds, config.seed)
        elif config.folds not in (None, split.folds):
            raise UserError(
                f"split {config.manifest} has {split.folds} folds; split.folds {config.folds} cannot be had"
            )
    if config.left_out is not None:
        return without_source(split, table, config.left_out)
    if config.final:
        return final_roles(split)
    if not split.folds:
        return _scored(split, table, siblings)
    held = config.held_folds
    if max(held) >= split.folds:
        raise UserError(
            f"split.fold {max(held)} is too high: the split has {split.folds} folds, counted from 0"
        )
    if len(set(held)) == split.folds:
        raise UserError("split.fold names every fold of the split: one at least must be left for training")
    role = split.roles["role"].where(split.roles["role"] == "test", "train")
    role = role.where(~split.roles["role"].isin([f"fold-{fold}" for fold in held]), "selection")
    own_fold = Split(split.roles.assign(role=role), split.header | {"fold": " ".join(map(str, held))})
    return _scored(own_fold, table, siblings)


def final_roles(split: Split) -> Split:
    """The roles of a last fit, whose epochs are fixed: what would choose between models trains as well.

    Args:
        split: with final roles.

    Returns:
        The split without `selection`. Training images that show a lesion of `calibration` or `test` under
        another id are in no role; the draw of `grouped-v1` is older than the list that names them.

    Raises:
        UserError: the split consists of folds, or holds nothing out.
    """
    held_out = split.roles["role"].isin(("calibration", "test"))
    if split.folds or not held_out.any():
        raise UserError("split.final needs a split with roles calibration or test; change the split section")
    role = split.roles["role"].where(split.roles["role"] != "selection", "train")
    group = split.roles["image_id"].map(found_later())
    seen = (role == "train") & group.isin(set(group[held_out].dropna()))
    roles = split.roles.assign(role=role)[~seen].reset_index(drop=True)
    return Split(roles, split.header | {"final": "yes"})


def _scored(split: Split, table: pd.DataFrame, siblings: Siblings | None) -> Split:
    """The split, its selection role as `siblings` says."""
    return split if siblings is None else with_siblings(split, table, siblings)


def _cut_into_folds(split: Split, table: pd.DataFrame, name: str, folds: int, seed: int) -> Split:
    """A manifest's test role as it is, all its other images in folds by lesion."""
    if split.protocol not in BY_LESION:
        raise UserError(
            f"split {name} is of protocol {split.protocol}; only a split by lesion can be cut into folds"
        )
    test = split.ids("test")
    others = table[table["image_id"].isin(split.roles.loc[split.roles["role"] != "test", "image_id"])]
    if split.protocol == "sources":
        drawn = draw_source_folds(others, folds, seed)
    else:
        drawn = draw_folds(others, 0.0, folds, seed)
    _check_folds(others, drawn, folds)
    drawn |= dict.fromkeys(test, "test")
    header = split.header | {"folds": str(folds), "folds-seed": str(seed), "folds-of": name}
    return Split(make_roles(table, drawn), header)


def _check_folds(table: pd.DataFrame, drawn: Mapping[str, str], folds: int) -> None:
    """Each fold shall be able to have a lesion of each class; those in test are spent."""
    free = table[table["image_id"].map(drawn) != "test"]
    known = "patient_id" in table and table["patient_id"].notna().any()
    groups = patient_groups(free) if known else free["lesion_id"]
    lesions = groups.groupby(free["dx"]).nunique().reindex(sorted(table["dx"].unique()), fill_value=0)
    if (rarest := int(lesions.min())) < folds:
        raise UserError(
            f"{folds} folds cannot be had: class {lesions.idxmin()} has {rarest} of its "
            f"{'patients' if known else 'lesions'} outside the "
            "test role, and each fold needs one of each class"
        )


# A split of a data set that somebody asks for.


@dataclass(frozen=True, slots=True)
class NewSplit:
    """A split that was just drawn.

    Attributes:
        split: the roles.
        table: the LesionTable that they are of.
        account: what was made of the source.
    """

    split: Split
    table: pd.DataFrame
    account: Account

    def files(self) -> list[Path]:
        """All that was read: tables and images."""
        return [*self.account.files(), *map(Path, self.table["path"])]

    def sentences(self) -> list[str]:
        """What was read, which classes a role lacks, and how far the split leaks."""
        return [
            *self.account.sentences(),
            *absent_classes(self.split.counts(self.table)),
            leak(self.split, self.table).sentence(),
        ]


def new_split(
    data: Path,
    settings: Mapping[str, Any],
    *,
    folders: Sequence[str] = (),
    **maps: Unpack[Maps],
) -> NewSplit:
    """Draw a split of a data set.

    Args:
        data: the data folder, or the table itself.
        settings: of `SplitConfig`; None stands for what was not asked for. Where neither a protocol nor
            anything else is asked for, the roles that the source gives are taken.
        folders: data folders within `data` that make one table.
        **maps: as for `read_table`.

    Raises:
        UserError: a setting is out of range, the table cannot be read, or the protocol cannot be drawn.
    """
    asked = {name: value for name, value in settings.items() if value is not None}
    try:
        config = SplitConfig.model_validate(asked)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]} {first['input']}" if first["loc"] else "split"
        raise UserError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from error
    if folders:
        stated = {name: value for name, value in maps.items() if value is not None}
        together = DataConfig.model_validate({"folders": tuple(folders), **stated})
        read = read_configured_set(data, together, check_files=False)
    else:
        read = read_set(data, **maps, check_files=False)
    roles = set(read.roles.values())
    if not asked and "train" in roles and len(roles) > 1:
        config = SplitConfig(protocol="given")  # whoever names shares, folds or a seed wants a draw
    return NewSplit(make_split(read.table, config, read.roles), read.table, read.account)
