"""Tables with one row an image: HAM10000, the ISIC archive, and any CSV with a column map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dermlens.data.readers.sheet import Sheet
from dermlens.data.readers.survey import image_id_of
from dermlens.errors import UserError, nearest

NAMES = {
    # ours       HAM10000, then the ISIC archive and its challenges; the first that is there is taken
    "image_id": ("image_id", "isic_id", "image"),
    "lesion_id": ("lesion_id",),
    "dx": ("dx", "diagnosis", "diagnosis_3"),
    "age": ("age", "age_approx"),
    "sex": ("sex",),
    "site": ("localization", "site", "anatom_site_general"),
    "dx_type": ("dx_type", "diagnosis_confirm_type"),
    "dataset": ("dataset",),
}
NEEDED = ("image_id", "dx")
JOINT = "+"


def theirs(header: Sequence[str], ours: str, columns: Mapping[str, str] | None = None) -> str | None:
    """The column of a source that holds one of ours, or None."""
    if columns and ours in columns:
        return columns[ours]
    return next((name for name in NAMES[ours] if name in header), None)


def is_table(header: Sequence[str], columns: Mapping[str, str] | None) -> bool:
    """Whether a file with this header can be read here."""
    wanted = [theirs(header, ours, columns) for ours in NEEDED] + list((columns or {}).values())
    return all(name is not None and set(_parts(header, name)) <= set(header) for name in wanted)


def read_columns(sheet: Sheet, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Take the columns that a LesionTable has.

    Args:
        sheet: the source's table.
        columns: the source's name of a column by ours, where it is not one of `NAMES`, such as
            `{"image_id": "img_id", "site": "region"}`. Columns that only together say it are joined:
            PAD-UFES-20 uses some lesion ids for two patients, and its lesion is `patient_id+lesion_id`.

    Returns:
        A frame of text with all keys of `NAMES`, empty where the source has no such column or value, and
        `where`, which names each row for error sentences.

    Raises:
        UserError: a key of `columns` is not ours, or the source lacks a column.
    """
    for ours in columns or {}:
        if ours not in NAMES:
            raise UserError(f"column map: '{ours}' is not a column of the table{nearest(ours, NAMES)}")
    frame: dict[str, list[str]] = {}
    for ours, known in NAMES.items():
        name = theirs(sheet.header, ours, columns)
        if name is not None:
            frame[ours] = _cells(sheet, name)
        elif ours in NEEDED:
            raise UserError(
                f"{sheet.path} has no column for {ours} ({', '.join(known)}); it has "
                f"{', '.join(sheet.header)}: say which one holds it with a column map ({ours}=…)"
            )
        else:
            frame[ours] = [""] * len(sheet.rows)
    frame["image_id"] = [image_id_of(cell) for cell in frame["image_id"]]
    return pd.DataFrame({**frame, "where": sheet.where()})


def _parts(header: Sequence[str], name: str) -> list[str]:
    """The columns that a name stands for: itself, or those it joins."""
    return [name] if name in header else [part.strip() for part in name.split(JOINT)]


def _cells(sheet: Sheet, name: str) -> list[str]:
    """A column's cells, or those of several joined by underscores; empty where one of them is."""
    parts = [sheet.column(part) for part in _parts(sheet.header, name)]
    return ["_".join(cells) if all(cells) else "" for cells in zip(*parts, strict=True)]
