"""Which form a data set has, and its rows as text."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dermlens.data.readers.class_folders import class_names, read_class_folders
from dermlens.data.readers.columns import is_table, read_columns
from dermlens.data.readers.onehot import is_companion, is_onehot, read_onehot
from dermlens.data.readers.sheet import read_header, read_sheet
from dermlens.data.readers.survey import Survey, is_table_name, survey
from dermlens.errors import UserError


def read_source(
    source: Path, *, columns: Mapping[str, str] | None, known: Collection[str]
) -> tuple[pd.DataFrame, Survey]:
    """Find the form of a data set and read it.

    Args:
        source: its folder, or its table.
        columns: the source's column by ours; none or empty where it has our names.
        known: names that a folder per class may have.

    Returns:
        The frame of text that `read_columns` describes, and the files that lie around it.

    Raises:
        UserError: there is no table and there are no class folders, or there are several tables.
    """
    columns = columns or None  # the command line and recipes say "no map" with an empty one
    if not source.exists():
        raise UserError(f"folder {source} does not exist; name the one that holds the images and their table")
    if source.is_file():
        found = survey(source.parent)
        if not found.images:
            found = survey(Path(os.path.normpath(source.parent / "..")))
        return _read(source, found, columns), found
    found = survey(source)
    table = _the_one(source, found.tables, columns)
    folders = class_names(found)
    if table is None and columns is None and any(name in known or name.lower() in known for name in folders):
        return read_class_folders(found), found
    if table is None and found.images and not found.tables:
        table = _the_one(source, _above(source), columns)
    if table is not None:
        return _read(table, found, columns), found
    if found.tables:
        return _read(found.tables[0], found, columns), found  # its reader says which column is missing
    if found.images:
        raise UserError(
            f"{source} has images and no table: a CSV file with image_id and dx is wanted, "
            f"or a folder per class (found: {', '.join(folders[:5])})"
        )
    raise UserError(f"{source} holds no images and no table; name the folder that holds both")


def _read(table: Path, found: Survey, columns: Mapping[str, str] | None) -> pd.DataFrame:
    if columns is None and is_onehot(read_header(table)):
        others = [read_sheet(other) for other in found.tables if is_companion(read_header(other))]
        return read_onehot(read_sheet(table), others)
    return read_columns(read_sheet(table), columns)


def _above(folder: Path) -> list[Path]:
    """What may be the table of a folder that holds images alone."""
    above = Path(os.path.normpath(folder / ".."))
    try:
        return [file for file in sorted(above.iterdir()) if is_table_name(file.name) and file.is_file()]
    except PermissionError:  # the folder above may be nobody's business
        return []


def _the_one(source: Path, tables: Sequence[Path], columns: Mapping[str, str] | None) -> Path | None:
    """Of several files the one that is the table: the nearest to the top that has the columns."""
    fit = [table for table in tables if _fits(read_header(table), columns)]
    nearest_to_top = [table for table in fit if len(table.parts) == len(fit[0].parts)]
    # Harvard Dataverse keeps the truth of the ISIC 2018 test set in HAM10000's record; to a one-hot truth, a
    # table of the other form is a companion.
    named = [table for table in nearest_to_top if table.stem == "HAM10000_metadata"]
    onehot = [table for table in nearest_to_top if columns is None and is_onehot(read_header(table))]
    nearest_to_top = named[:1] or onehot or nearest_to_top
    if len(nearest_to_top) > 1:
        raise UserError(
            f"{source} holds several tables: {', '.join(map(str, nearest_to_top))}; "
            "name the one that is meant"
        )
    return nearest_to_top[0] if nearest_to_top else None


def _fits(header: Sequence[str], columns: Mapping[str, str] | None) -> bool:
    return is_table(header, columns) or (columns is None and is_onehot(header))
