"""Roles over several sources: drawn by lesion within each source, and one source left out of training.

HAM10000's lesions keep the role that they have in `grouped-v1`, so that one test role serves every model; the
other sources get train, selection and calibration. A lesion that several sources show is one lesion.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from dermlens.data.lesion_groups import patient_groups
from dermlens.data.manifest import Split
from dermlens.data.protocols import draw_folds, draw_grouped
from dermlens.errors import UserError, nearest

HELD_OUT_FIRST = ("test", "calibration", "selection", "train")


def draw_sources(
    table: pd.DataFrame, home: Mapping[str, str], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Roles by lesion within each source, stratified by class as `draw_grouped` does it.

    Args:
        table: a LesionTable of several sources.
        home: role by image id of those that have one already, HAM10000's in `grouped-v1`; it may name others.
        shares: of selection and calibration among the other sources' lesions; the rest trains.
        seed: of the draw.

    Returns:
        Role by image id. An image that shows a lesion of `home` gets that lesion's most held-out role; where
        that is test it gets none, because the test role is home's alone.
    """
    group_of = dict(zip(table["image_id"], patient_groups(table), strict=True))
    drawn = {image: home[image] for image in group_of if image in home}
    home_roles: dict[str, set[str]] = {}
    for image, role in drawn.items():
        home_roles.setdefault(group_of[image], set()).add(role)
    free = []
    for image, group in group_of.items():
        if image not in home and group in home_roles:
            role = next(role for role in HELD_OUT_FIRST if role in home_roles[group])
            drawn |= {} if role == "test" else {image: role}
        elif image not in home:
            free.append(image)
    rest = table[table["image_id"].isin(free)]
    return drawn | draw_grouped(_by_source(rest), {**shares, "test": 0.0}, seed)


def draw_source_folds(table: pd.DataFrame, folds: int, seed: int) -> dict[str, str]:
    """Folds by lesion, each with its share of every class of every source.

    Args:
        table: a LesionTable, the images of the test role taken out.
        folds: how many.
        seed: of the draw.

    Returns:
        `fold-<n>` by image id.
    """
    return draw_folds(_by_source(table), 0.0, folds, seed)


def _by_source(table: pd.DataFrame) -> pd.DataFrame:
    """The table with classes of each source's own, so that a draw that is stratified by class is by both."""
    return table.assign(dx=table["dx"] + "/" + table["source"])


def without_source(split: Split, table: pd.DataFrame, source: str) -> Split:
    """Leave a source out: its images are `selection`, and all others outside the test role train.

    Args:
        split: with final roles; what has none in it stays without.
        table: the LesionTable that it was made for.
        source: whose images are scored.

    Returns:
        The split. Images of other sources that show a lesion of the source are left out of it, whatever their
        role.

    Raises:
        UserError: no image of the source has a role other than test, or no other image has.
    """
    sources = sorted(set(table["source"]))
    if source not in sources:
        raise UserError(f"split.left_out: {source} is no source of the table{nearest(source, sources)}")
    known = table[["image_id", "source"]].assign(group=patient_groups(table))
    rows = split.roles.merge(known, on="image_id", validate="one_to_one")
    is_test, is_source = rows["role"] == "test", rows["source"] == source
    shown = set(known.loc[known["source"] == source, "group"])
    rows["role"] = is_source.map({True: "selection", False: "train"}).where(~is_test, "test")
    kept = rows[is_test | is_source | ~rows["group"].isin(shown)]
    for role in ("selection", "train"):
        if role not in set(kept["role"]):
            whose = "of" if role == "selection" else "outside of"
            raise UserError(f"split.left_out: no image {whose} {source} has a role other than test")
    roles = kept[["image_id", "lesion_id", "role"]].reset_index(drop=True)
    return Split(roles, split.header | {"left-out": source})
