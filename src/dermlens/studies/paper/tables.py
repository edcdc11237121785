"""Published tables and records, read so that damage is said in one sentence."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from dermlens.atomic import read_json
from dermlens.errors import UserError

PUBLISHED = ("questions", "leak", "probes.csv", "counts.csv", "systems")


def read_published(
    path: Path, columns: Collection[str], numbers: Collection[str] = (), *, whole: bool = False
) -> pd.DataFrame:
    """Read a CSV that the study has written.

    Args:
        path: of the file.
        columns: that it must have.
        numbers: those of them that hold numbers, or nothing.
        whole: whether the numbers are counts.

    Raises:
        UserError: it is empty, damaged, lacks a column, or has a word where a number belongs.
    """
    try:
        table = pd.read_csv(path)
    except (ValueError, EOFError, OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if lacking := [name for name in columns if name not in table.columns]:
        raise UserError(f"{path} has no column {lacking[0]}; publish the study again, or restore the file")
    for name in numbers:
        try:
            table[name] = pd.to_numeric(table[name])
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}, column {name}: not a number in every row") from error
        if whole and not (table[name] == table[name].round()).all():
            raise UserError(f"{path}, column {name}: not a count in every row")
    return table


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON record; nothing where there is none. Raises: UserError when it is damaged."""
    return read_json(path) if path.is_file() else {}


def require_results(results: Path) -> None:
    """Make sure that a folder holds something of the study. Raises: UserError when it does not."""
    if not results.is_dir():
        raise UserError(f"{results} does not exist: name the published results with --results")
    if not any((results / name).exists() for name in PUBLISHED):
        raise UserError(f"{results} holds nothing of the study: none of {', '.join(PUBLISHED)}")
