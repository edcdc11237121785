"""A table file as text, with the row numbers that a spreadsheet shows: CSV in its dialects, or a workbook.

A CSV's separator is found by `csv.Sniffer`, or by the line `sep=;` that Excel writes; its encoding by its
first bytes, and where it is no Unicode, by whether an encoding of Windows gives words of a language that uses
it. Workbooks need the extra `excel`.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermlens.errors import UserError, nearest, require
from dermlens.targets import file_source

WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")
SEPARATORS = ",;\t|"
SAMPLE = 2**14
"""Characters that the separator is found by."""
HEAD = 2**20
"""Bytes that a header is looked for in."""
LINE_END = re.compile(r"\r\n|\r|\n")
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff"
"""Characters of no width, which copying from web pages and PDFs leaves at the ends of cells."""

WESTERN = frozenset(
    "ÄÖÜäöüßÀÂÆÇÈÉÊËÎÏÔÙÛàâæçèéêëîïôùûÿœŒÁÍÓÚÑáíóúñÃÕãõÌÒìòÅåØø¡¿ªº«»„“”‚‘’–—…°±²³µ·×§€£´½¼¾®©™ \xa0"
)
TURKISH = WESTERN | set("ĞğİıŞş")
ROW_OF_LETTERS = re.compile(r"[^\x00-\x7f«»„“”‚‘’–—…\xa0]{3}")
"""Characters that no word of a Western language or of Turkish has in a row."""
CODE_PAGES = {
    "cp1252": ("Western European", WESTERN),
    "cp1254": ("Turkish", TURKISH),
}
"""Encodings that spreadsheets of Windows write, with the characters that their languages use. Others hold the
same bytes for other letters: a text is taken for one of these where all its letters are of the language."""


@dataclass(frozen=True)
class Sheet:
    """A table of text, in Unicode's composed form (NFC).

    Attributes:
        path: the file, as it was named.
        header: its columns.
        rows: its cells, stripped; every row as long as the header.
        numbers: of each row, as a spreadsheet shows it.
        encoding: a sentence on the encoding, where that was guessed; else empty.
    """

    path: Path
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]
    encoding: str = ""

    def column(self, name: str) -> list[str]:
        """All cells of a column.

        Raises:
            UserError: there is no such column.
        """
        if name not in self.header:
            raise UserError(f"{self.path} has no column '{name}'{nearest(name, self.header)}")
        at = self.header.index(name)
        return [row[at] for row in self.rows]

    def joined(self, names: Sequence[str], joint: str) -> list[str]:
        """The cells of one column, or of several joined; empty where one of them is. Raises: UserError."""
        rows = zip(*map(self.column, names), strict=True)
        return [joint.join(cells) if all(cells) else "" for cells in rows]

    def where(self) -> list[str]:
        """For each row, the beginning of a sentence about it."""
        return [f"{self.path}, row {number}" for number in self.numbers]

    def with_header(self, names: tuple[str, ...]) -> Sheet:
        """The same table where the file names no columns: its first row is one of images."""
        return Sheet(self.path, names, (self.header, *self.rows), (1, *self.numbers), self.encoding)


def read_header(path: Path) -> tuple[str, ...]:
    """The columns of a table file; none where it is empty, is no table, or may not be read."""
    try:
        lines = iter(_workbook(path)) if _is_workbook(path) else _csv(path, HEAD)[0]
        return next((tuple(map(_bare, line)) for line in lines if any(map(_bare, line))), ())
    except (UserError, UnicodeDecodeError, csv.Error, OSError):
        return ()


def read_lines(path: Path) -> list[list[str]]:
    """The cells of a text file that may be a list; none where it is no text, or may not be read."""
    try:
        return [list(map(_bare, line)) for line in (_workbook(path) if _is_workbook(path) else _csv(path)[0])]
    except (UserError, UnicodeDecodeError, csv.Error, OSError):
        return []


def read_sheet(path: Path) -> Sheet:
    """Read a table file.

    Args:
        path: CSV with commas, semicolons, tabs or bars, in UTF-8, UTF-16 or UTF-32, or in Windows's Western
            or Turkish code page; or a workbook of one sheet.

    Raises:
        UserError: another encoding, no header, a column twice, a row longer than the header, several sheets,
            or the extra that reads workbooks is not installed.
    """
    encoding = ""
    try:
        if _is_workbook(path):
            lines = _workbook(path)
        else:
            parsed, encoding = _csv(path)
            lines = list(parsed)
    except OSError as error:
        raise UserError(f"{path} may not be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is neither UTF-8 nor UTF-16 text, nor of a Western or Turkish code page (byte"
            f" {error.start});"
            " save it as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise UserError(f"{path} is no CSV file: {error}") from error
    cells = [tuple(map(_bare, line)) for line in lines]
    first = next((number for number, row in enumerate(cells) if any(row)), None)
    if first is None:
        raise UserError(f"{path} is empty; its first row must name the columns")
    header = cells[first]
    twice = {name for name in header if name and header.count(name) > 1}
    if twice:
        raise UserError(f"{path} has the column '{min(twice)}' more than once; each needs its own name")
    rows, numbers = [], []
    for number, row in enumerate(cells[first + 1 :], start=first + 2):
        if not any(row):
            continue
        if len(row) != len(header):
            if any(row[len(header) :]):
                raise UserError(
                    f"{path}, row {number}: {len(row)} cells under {len(header)} columns; a cell that"
                    " holds a comma"
                    " must stand in quotes, and a title above the row that names the columns must go"
                )
            row = (*row[: len(header)], *[""] * (len(header) - len(row)))
        rows.append(row)
        numbers.append(number)
    if not rows:
        raise UserError(f"{path} has a header and no rows; each image needs one")
    return Sheet(path, header, tuple(rows), tuple(numbers), encoding)


def _bare(cell: str) -> str:
    """A cell without spaces of any width at its ends."""
    cell = cell.strip()
    while cell and (cell[0] in INVISIBLE or cell[-1] in INVISIBLE):
        cell = cell.strip(INVISIBLE).strip()
    return cell


def _is_workbook(path: Path) -> bool:
    return path.suffix.lower() in WORKBOOKS


def _csv(path: Path, most: int = -1) -> tuple[Iterator[list[str]], str]:
    """The rows of a CSV file, and a sentence on its encoding where that was guessed."""
    with file_source(path).open("rb") as file:
        data = file.read(most)
    decoded, encoding = _decoded(data, cut=0 < most <= len(data))
    text = unicodedata.normalize("NFC", decoded)
    first, *rest = LINE_END.split(text, maxsplit=1)
    if declared := re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE):
        text = "".join(rest)
    # Not splitlines(), which parts at U+2028 and others that may stand in a cell.
    lines = io.StringIO(text, newline="")
    return csv.reader(lines, delimiter=declared[1] if declared else _separator(text)), encoding


def _decoded(data: bytes, *, cut: bool) -> tuple[str, str]:
    """Text of UTF-8; of UTF-16 or UTF-32 with a byte-order mark or, in Latin letters, UTF-16 by its zero
    bytes; or of a code page.

    Raises:
        UnicodeDecodeError: it is none of these.
    """
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        unicode = "utf-32"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        unicode = "utf-16"
    elif data[:64:2].count(0) > 8:
        unicode = "utf-16-be"
    elif data[1:64:2].count(0) > 8:
        unicode = "utf-16-le"
    else:
        unicode = "utf-8-sig"
    try:
        return codecs.getincrementaldecoder(unicode)().decode(data, final=not cut), ""
    except UnicodeDecodeError:
        if unicode != "utf-8-sig":
            raise
        for page, (language, letters) in CODE_PAGES.items():
            if (text := _of_code_page(data, page, letters)) is not None:
                return (
                    text,
                    f"read as {language} text ({page}), since it is not UTF-8: check its accented letters",
                )
        raise


def _of_code_page(data: bytes, page: str, letters: frozenset[str]) -> str | None:
    """The text of a code page, if all of its characters can stand where they stand; else None.

    A letter of another code page comes out as a sign between letters, or as a capital after a small one, and
    a word in another script as a row of such letters.
    """
    try:
        text = data.decode(page)
    except UnicodeDecodeError:
        return None
    if "\0" in text or any(not one.isascii() and one not in letters for one in text):
        return None
    if ROW_OF_LETTERS.search(text):
        return None
    for at, one in enumerate(text):
        if one.isascii():
            continue
        before, after = text[at - 1 : at], text[at + 1 : at + 2]
        if one.isalpha():
            if one.isupper() and before.islower():
                return None
        elif one not in "’‘´·°" and before.isalpha() and after.isalpha():
            return None
    return text


def _separator(text: str) -> str:
    """What parts the cells: as `csv.Sniffer` finds it, if the header has it; else the header's commonest."""
    header = next((line for line in LINE_END.split(text[:SAMPLE]) if line.strip()), "")
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
            f"{path} has several sheets with something in them: {', '.join(filled)}; save the one that is"
            " meant"
            " as a CSV file"
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
