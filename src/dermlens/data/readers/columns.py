"""Tables with one row an image, under the names of `dermlens.data.column_names` or a column map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dermlens.data.account import Account
from dermlens.data.column_names import (
    NAMES,
    NEEDED,
    check_map,
    further,
    is_answers,
    is_telling,
    parts,
    theirs,
)
from dermlens.data.readers.sheet import Sheet
from dermlens.data.vocabulary import is_missing
from dermlens.errors import UserError

DX_FURTHER = "dx_further"
"""The name of the frame's column with what further columns say of the diagnosis, a tuple a row."""


def is_table(header: Sequence[str], columns: Mapping[str, str] | None) -> bool:
    """Whether a file with this header can be read here."""
    wanted = [theirs(header, ours, columns) for ours in NEEDED] + list((columns or {}).values())
    return not is_answers(header) and all(
        name is not None and set(parts(header, name)) <= set(header) for name in wanted
    )


def read_columns(
    sheet: Sheet, columns: Mapping[str, str] | None = None, account: Account | None = None
) -> pd.DataFrame:
    """Take the columns that a LesionTable has.

    Args:
        sheet: the source's table.
        columns: the source's name of a column by ours, where it is not one of `NAMES`, such as
            `{"image_id": "Datei", "site": "Lokalisation"}`. Columns that only together say it are joined by a
            plus: `patient_id+lesion_id`.
        account: takes which columns were read, which were not, and which tell the answer.

    Returns:
        A frame of text with all keys of `NAMES`, empty where the source has no such column or value;
        `dx_further`; and `where`, which names each row for error sentences.

    Raises:
        UserError: a key of `columns` is not ours, the source lacks a column, or an input of the network would
            be a column that tells the answer.
    """
    check_map(columns)
    account = account or Account(sheet.path)
    frame: dict[str, list[str]] = {}
    used: set[str] = set()
    for ours, known in NAMES.items():
        name = theirs(sheet.header, ours, columns)
        if name is None and ours in NEEDED:
            raise UserError(
                f"{sheet.path} has no column for {ours} ({', '.join(known)}); "
                f"it has {', '.join(sheet.header)}"
            )
        frame[ours] = [""] * len(sheet.rows) if name is None else _cells(sheet, name)
        if name is not None:
            used.update(parts(sheet.header, name))
            if name != ours:
                account.columns[name] = ours
    site = theirs(sheet.header, "site", columns)
    for name in further(sheet.header, site):
        used.add(name)
        fallback = sheet.column(name)
        frame["site"] = [
            second if is_missing(first) else first
            for first, second in zip(frame["site"], fallback, strict=True)
        ]
    dx = None if columns and "dx" in columns else theirs(sheet.header, "dx")
    levels = [sheet.column(name) for name in further(sheet.header, dx)]
    more = list(zip(*levels, strict=True)) if levels else [()] * len(sheet.rows)
    truth = {*parts(sheet.header, theirs(sheet.header, "dx", columns) or ""), *further(sheet.header, dx)}
    telling = [name for name in sheet.header if is_telling(name) and name not in truth]
    account.telling += [name for name in telling if _says_something(sheet, name)]
    account.unread += [name for name in sheet.header if name and name not in {*used, *truth, *telling}]
    return pd.DataFrame({**frame, DX_FURTHER: more, "where": sheet.where()})


def _says_something(sheet: Sheet, name: str) -> bool:
    return any(not is_missing(cell) for cell in sheet.column(name))


def _cells(sheet: Sheet, name: str) -> list[str]:
    """A column's cells, or those of several joined by underscores; empty where one of them is."""
    columns = [sheet.column(part) for part in parts(sheet.header, name)]
    return ["_".join(cells) if all(cells) else "" for cells in zip(*columns, strict=True)]
