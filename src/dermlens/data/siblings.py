"""A leak on purpose: what it is worth that other images of the scored lesions are trained on.

Two splits of one fold that differ in nothing else. Both score one image of each of the fold's lesions, and
both train on the other folds, on as many images of each class. `withheld` keeps the other images of the
scored lesions, their siblings, out. `trained_on` puts them in, in place of as many images of their class.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import pandas as pd

from dermlens.data.lesion_groups import lesion_groups
from dermlens.data.manifest import Split
from dermlens.errors import UserError


def with_siblings(split: Split, table: pd.DataFrame, siblings: Literal["withheld", "trained_on"]) -> Split:
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
    rows = split.roles.merge(table[["image_id", "dx"]], on="image_id", validate="one_to_one")
    rows = rows.assign(group=lesion_groups(table).to_numpy()[_places(rows, table)], draw=_draws(rows))
    rows = rows.sort_values("draw")
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
                f"split.siblings trained_on: {number} images of {dx} go in, and {len(room)} can make room"
            )
        keep[room[:number]] = False
    keep[others.index] = True
    rows.loc[others.index, "role"] = "train"
    return Split(_roles(rows[keep]), split.header | {"protocol": "siblings"})


def _places(rows: pd.DataFrame, table: pd.DataFrame) -> list[int]:
    """Where the images of the rows stand in the table."""
    place = {image: index for index, image in enumerate(table["image_id"])}
    return [place[image] for image in rows["image_id"]]


def _draws(rows: pd.DataFrame) -> list[str]:
    return [hashlib.sha256(f"siblings/{image}".encode()).hexdigest() for image in rows["image_id"]]


def _roles(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.sort_values("image_id", ignore_index=True)[["image_id", "lesion_id", "role"]]
