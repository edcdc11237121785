"""A CSV file as text, with the row numbers that a spreadsheet shows."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from dermlens.errors import UserError, nearest


@dataclass(frozen=True)
class Sheet:
    """A table of text.

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


def read_header(path: Path) -> tuple[str, ...]:
    """The columns of a CSV file; none where it is empty, no UTF-8 text, or may not be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(1 << 20)
        return tuple(name.strip() for name in next(csv.reader([first], delimiter=_delimiter(first)), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()


def read_sheet(path: Path) -> Sheet:
    """Read a CSV file: commas, semicolons or tabs, UTF-8 with or without a byte-order mark.

    Raises:
        UserError: not UTF-8, no header, a column twice, or a row longer than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            delimiter = _delimiter(file.readline())
            file.seek(0)
            lines = list(csv.reader(file, delimiter=delimiter))
    except OSError as error:
        raise UserError(f"{path} may not be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8") from error
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


def _delimiter(line: str) -> str:
    return max(",;\t", key=line.count)
