"""Ground truth as one-hot columns: ISIC 2018 task 3, and ISIC 2019 with its two further classes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dermlens.data.readers.columns import NAMES, NEEDED, theirs
from dermlens.data.readers.sheet import Sheet
from dermlens.data.readers.survey import image_id_of
from dermlens.errors import UserError
from dermlens.labels import ISIC_COLUMNS

CODES = (*ISIC_COLUMNS, "AK", "SCC", "UNK")
SURE = ("MEL", "NV", "BCC")
"""Columns that both years have: they tell a ground-truth file from others."""


def is_onehot(header: Sequence[str]) -> bool:
    """Whether a file with this header can be read here."""
    return "image" in header and all(code in header for code in SURE)


def is_companion(header: Sequence[str]) -> bool:
    """Whether a file says more of the same images: LesionGroupings, ISIC 2019's Metadata, HAM10000's form."""
    return (
        theirs(header, "image_id") is not None
        and not is_onehot(header)
        and any(theirs(header, ours) for ours in NAMES if ours not in NEEDED)
    )


def read_onehot(truth: Sheet, companions: Sequence[Sheet] = ()) -> pd.DataFrame:
    """Turn one-hot columns into diagnoses and join what companions say of the same images.

    Args:
        truth: `image` and a column a class, 1 in one of them and 0 in the others.
        companions: tables with the same images and any of the other columns; their diagnoses are not read.

    Returns:
        The frame that `read_columns` gives, with diagnoses as the source's column names (`MEL`).

    Raises:
        UserError: a row has not exactly one 1.
    """
    codes = [code for code in CODES if code in truth.header]
    at = [truth.header.index(code) for code in codes]
    where = truth.where()
    dx = []
    for row, place in zip(truth.rows, where, strict=True):
        hot = [code for code, i in zip(codes, at, strict=True) if row[i] not in ("0", "0.0", "")]
        if len(hot) != 1 or row[truth.header.index(hot[0])] not in ("1", "1.0"):
            raise UserError(f"{place}: exactly one of {', '.join(codes)} must be 1, the others 0")
        dx.append(hot[0])
    frame = pd.DataFrame({"image_id": [image_id_of(cell) for cell in truth.column("image")], "dx": dx})
    for ours in NAMES:
        if ours not in NEEDED:
            said = _said(companions, ours)
            frame[ours] = [said.get(image_id, "") for image_id in frame["image_id"]]
    frame["where"] = where
    return frame


def _said(companions: Sequence[Sheet], ours: str) -> dict[str, str]:
    said: dict[str, str] = {}
    for sheet in companions:
        key, name = theirs(sheet.header, "image_id"), theirs(sheet.header, ours)
        if key is not None and name is not None:
            said.update(zip(map(image_id_of, sheet.column(key)), sheet.column(name), strict=True))
    return said
