"""Roles for images: made by a protocol or read from a manifest, then checked.

The manifest `grouped-v1` is what `make_split(table, SplitConfig())` gives for HAM10000: by lesion, seed 0,
65 % to train, 10 % selection, 10 % calibration, 15 % test (`dermlens split DIR --protocol grouped`). Folds of
one seed have its test lesions, another seed has others: to leave the test lesions alone, vary the fold and
not the seed.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dermlens.data.config import SplitConfig
from dermlens.data.leak import Leak, check_disjoint, leak
from dermlens.data.lesion_groups import patient_groups
from dermlens.data.manifest import BY_LESION, HOME, VERSION, Split, load_manifest, make_roles
from dermlens.data.protocols import draw_folds, draw_grouped, draw_paper, draw_singletons, take_given
from dermlens.data.siblings import with_siblings
from dermlens.data.source_roles import draw_source_folds, draw_sources, without_source
from dermlens.data.table import table_sha256
from dermlens.errors import UserError

__all__ = ["Leak", "Split", "check_disjoint", "leak", "load_manifest", "make_split", "resolve_split"]


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


def resolve_split(table: pd.DataFrame, config: SplitConfig, given: Mapping[str, str] | None = None) -> Split:
    """The split that a run trains and scores with: final roles, made for this table.

    Args:
        table: the LesionTable of the run.
        config: `manifest` wins over `protocol`. With `folds`, the lesions outside the manifest's test role
            are cut anew into folds, and `fold` plays selection. A manifest that holds folds keeps its own.
        given: as for `make_split`.

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
    if not split.folds:
        return _scored(split, table, config)
    if config.fold >= split.folds:
        raise UserError(
            f"split.fold {config.fold} is too high: the split has {split.folds} folds, counted from 0"
        )
    own = f"fold-{config.fold}"
    role = split.roles["role"].where(split.roles["role"] == "test", "train")
    role = role.where(split.roles["role"] != own, "selection")
    own_fold = Split(split.roles.assign(role=role), split.header | {"fold": str(config.fold)})
    return _scored(own_fold, table, config)


def _scored(split: Split, table: pd.DataFrame, config: SplitConfig) -> Split:
    """The split, its selection role as `siblings` says."""
    return split if config.siblings is None else with_siblings(split, table, config.siblings)


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
