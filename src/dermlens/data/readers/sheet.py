"""A table file as text, with the row numbers that a spreadsheet shows: CSV in its dialects, or a workbook.

A CSV's separator is told by `csv.Sniffer`, or by the line `sep=;` that Excel writes, and its encoding by its
first bytes. Workbooks need the extra `excel`.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermlens.errors import UserError, nearest, require

WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
SEPARATORS = ",;\t|"
SAMPLE = 2**14
"""Characters that the separator is told by."""
HEAD = 2**20
"""Bytes that a header is looked for in."""


@dataclass(frozen=True)
class Sheet:
    """A table of text, in Unicode's composed form (NFC).

    Attributes:
        path: the file, as it was named.
        header: its columns.
        rows: its cells, stripped; every row as long as the header.
        numbers: of each row, as a spreadsheet shows it: the header is row 1.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]

    def column(self, name: str) -> list[str]:
        """All cells of a column.

        Raises:
            UserError: there is no such column.
        """
        if name not in self.header:
            raise UserError(f"{self.path} has no column '{name}'{nearest(name, self.header)}")
        at = self.header.index(name)
        return [row[at] for row in self.rows]

    def where(self) -> list[str]:
        """For each row, the beginning of a sentence about it."""
        return [f"{self.path}, row {number}" for number in self.numbers]

    def with_header(self, names: tuple[str, ...]) -> Sheet:
        """The same table where the file names no columns: its first row is one of images."""
        return Sheet(self.path, names, (self.header, *self.rows), (1, *self.numbers))


def read_header(path: Path) -> tuple[str, ...]:
    """The columns of a table file; none where it is empty, is no table, or may not be read."""
    try:
        lines = _workbook(path) if _is_workbook(path) else _csv(path, HEAD)
    except (UserError, UnicodeDecodeError, csv.Error, OSError):
        return ()
    return tuple(name.strip() for name in next(iter(lines), []))


def read_sheet(path: Path) -> Sheet:
    """Read a table file.

    Args:
        path: CSV with commas, semicolons, tabs or bars, in UTF-8 or UTF-16; or a workbook of one sheet.

    Raises:
        UserError: another encoding, no header, a column twice, a row longer than the header, several sheets,
        or
            the extra that reads workbooks is not installed.
    """
    try:
        lines = list(_workbook(path) if _is_workbook(path) else _csv(path))
    except OSError as error:
        raise UserError(f"{path} may not be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is neither UTF-8 nor UTF-16 text (byte {error.start}); save it as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise UserError(f"{path} is no CSV file: {error}") from error
    if not lines or not any(lines[0]):
        raise UserError(f"{path} is empty; its first row must name the columns")
    header = tuple(name.strip() for name in lines[0])
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise UserError(f"{path} has the column '{min(twice)}' more than once; each needs its own name")
    rows, numbers = [], []
    for number, line in enumerate(lines[1:], start=2):
        row = tuple(cell.strip() for cell in line)
        if not any(row):
            continue
        if len(row) != len(header):
            if any(row[len(header) :]):
                raise UserError(
                    f"{path}, row {number}: {len(row)} cells under {len(header)} columns; "
                    "a cell that holds a comma must stand in quotes"
                )
            row = (*row[: len(header)], *[""] * (len(header) - len(row)))
        rows.append(row)
        numbers.append(number)
    if not rows:
        raise UserError(f"{path} has a header and no rows; each image needs one")
    return Sheet(path, header, tuple(rows), tuple(numbers))


def _is_workbook(path: Path) -> bool:
    return path.suffix.lower() in WORKBOOKS


def _csv(path: Path, most: int = -1) -> Iterable[list[str]]:
    with path.open("rb") as file:
        data = file.read(most)
    cut = 0 < most <= len(data)
    text = unicodedata.normalize("NFC", _decoded(data, cut=cut))
    first, _, rest = text.partition("\n")
    if told := re.fullmatch(r"sep=(.)\s*", first, re.IGNORECASE):
        text = rest
    # Not splitlines(), which parts at U+2028 and others that may stand in a cell.
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter=told[1] if told else _separator(text))


def _decoded(data: bytes, *, cut: bool) -> str:
    """Text of UTF-8, or of UTF-16 with a byte-order mark or, in Latin letters, by its zero bytes."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    elif data[:64:2].count(0) > 8:
        encoding = "utf-16-be"
    elif data[1:64:2].count(0) > 8:
        encoding = "utf-16-le"
    else:
        encoding = "utf-8-sig"
    return codecs.getincrementaldecoder(encoding)().decode(data, final=not cut)


def _separator(text: str) -> str:
    """What parts the cells: as `csv.Sniffer` finds it, if the header has it; else the header's commonest."""
    header = text.partition("\n")[0]
    try:
        found = csv.Sniffer().sniff(text[:SAMPLE], SEPARATORS).delimiter
    except csv.Error:  # one column, or too few rows to tell
        found = ""
    return found if found and found in header else max(SEPARATORS, key=header.count)


def _workbook(path: Path) -> list[list[str]]:
    """The cells of a workbook's only sheet as text.

    Raises:
        UserError: it is damaged, or several sheets hold something.
    """
    calamine = require("python_calamine", "excel")
    try:
        with path.open("rb") as file:
            book = calamine.load_workbook(file)
            sheets = {
                name: book.get_sheet_by_name(name).to_python(skip_empty_area=False)
                for name in book.sheet_names
            }
    except OSError:
        raise
    except Exception as error:  # its own errors share no class
        raise UserError(f"{path} is no workbook that can be read: {error}") from error
    filled = {name: rows for name, rows in sheets.items() if any(any(map(_cell, row)) for row in rows)}
    if len(filled) > 1:
        raise UserError(
            f"{path} has several sheets with something in them: {', '.join(filled)}; save the one that "
            "is meant "
            "as a CSV file"
        )
    return [
        [unicodedata.normalize("NFC", _cell(cell)) for cell in row]
        for rows in filled.values()
        for row in rows
    ]


def _cell(value: Any) -> str:
    """A cell as a spreadsheet shows it: whole numbers without a point."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
