"""CSV files as text, what their columns are called, and all that is wrong with them in one list."""

from __future__ import annotations

import codecs
import csv
import io
import re
import shlex
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from dermlens.errors import UserError, nearest, require
from dermlens.predict.sources.vocabulary import plain

# Cells that a spreadsheet would run: a table that is opened in one must hold none.


FORMULA = re.compile(r"(?:^|[,;\t])[=+\-@\t\r＝＋－＠]")
"""As OWASP lists them under CSV injection: a cell begins with the text, or where a spreadsheet cuts it."""


def is_formula(cell: str) -> bool:
    """Whether Excel, LibreOffice or Google Sheets takes a cell of a CSV file for a formula."""
    return FORMULA.search(cell) is not None


# A table file as text, with the row numbers that a spreadsheet shows: CSV in its dialects, or a workbook.
#
# A CSV's separator is told by `csv.Sniffer`, or by the line `sep=;` that Excel writes, and its encoding by
# its first bytes. Workbooks need the extra `excel`.


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


# What columns are called: ours by the names that HAM10000, ISIC, MILK10k, PAD-UFES-20, Derm7pt and
# BCN20000 use.


NAMES = {
    # ours        HAM10000, the ISIC archive and its challenges, then others; the first that is there is taken
    "image_id": (
        "image_id", "isic_id", "image", "image_name", "img_id", "bcn_filename", "derm", "filename",
        "file_name",
        "image_file", "image_path", "filepath", "file",
    ),
    "lesion_id": ("lesion_id",),
    "patient_id": ("patient_id", "patient", "subject_id", "participant_id"),
    "dx": ("dx", "diagnosis", "diagnosis_3", "diagnostic", "iddx_3", "diagnosis_full"),
    "age": ("age", "age_approx", "age_approximate", "patient_age"),
    "sex": ("sex", "gender", "patient_sex"),
    "site": (
        "localization", "site", "anatom_site_general", "anatom_site_general_challenge", "region", "location",
        "anatom_site", "anatom_site_1", "body_site", "localisation",
    ),
    "dx_type": ("dx_type", "diagnosis_confirm_type"),
    "source": ("source", "dataset"),
}  # fmt: skip
FURTHER = {
    "diagnosis": ("benign_malignant",),
    "diagnosis_3": ("diagnosis_4", "diagnosis_5", "diagnosis_2", "diagnosis_1"),
    "iddx_3": ("iddx_4", "iddx_5", "iddx_2", "iddx_1"),
    "anatom_site_general": ("anatom_site_special",),
}
"""Where else a source says the same, more or less finely: asked in this order where the first says nothing
that is understood."""
NEEDED = ("image_id", "dx")
JOINT = "+"

TELLING = re.compile(
    r"biopsed|biopsied|biopsy|concomitant_biopsy|excised|excision|histology|histopathology|pathology|management"
    r"|dx|dx_.*|diagnos.*|iddx_.*|benign_malignant|malignant|benign|target|melanocytic|mel_.*|nevus_type"
    r"|invasion_thickness.*|breslow.*|seven_point_score|tbp_lv_dnn_lesion_confidence|.*ground_?truth|label|class"
)
"""Columns that come of the diagnosis, or of the doubt of whoever made it: lesions that look malignant are
those that are biopsied."""


def theirs(header: Sequence[str], ours: str, columns: Mapping[str, str] | None = None) -> str | None:
    """The column of a source that holds one of ours, whatever its case and spaces, or None."""
    if columns and ours in columns:
        return columns[ours]
    if ours == "image_id" and "derm" in header and "clinic" not in header:  # Derm7pt has the two side by side
        header = [name for name in header if name != "derm"]
    return next((name for known in NAMES[ours] for name in header if _same(name, known)), None)


def is_answers(header: Sequence[str]) -> bool:
    """Whether a file holds what a model says: probabilities p_<class>, as dermlens writes them."""
    return sum(name.startswith("p_") for name in header) >= 2 and any(
        name in header for name in ("image_id", "target", "set", "abstain", "reason")
    )


def check_map(columns: Mapping[str, str] | None) -> None:
    """Raises: UserError when a column map has a key that is not ours, or feeds a network with the answer."""
    for ours, name in (columns or {}).items():
        if ours not in NAMES:
            raise UserError(f"column map: '{ours}' is not a column of the table{nearest(ours, NAMES)}")
        if ours in ("age", "sex", "site") and any(is_telling(part) for part in name.split(JOINT)):
            raise UserError(
                f"column map: {ours}={name} would tell the network the answer: {name} comes of the "
                "diagnosis, or "
                "of the doubt of whoever made it"
            )


def is_telling(name: str) -> bool:
    """Whether a column tells the answer, by its name."""
    return TELLING.fullmatch(plain(name).replace(" ", "_")) is not None


def _same(name: str, known: str) -> bool:
    return name == known or plain(name).replace(" ", "_") == known


def further(header: Sequence[str], name: str | None) -> list[str]:
    """The further columns that a source has, of one that was found."""
    known = FURTHER.get(plain(name or "").replace(" ", "_"), ())
    return [column for other in known for column in header if _same(column, other)]


def parts(header: Sequence[str], name: str) -> list[str]:
    """The columns that a name stands for: itself, or those it joins."""
    return [name] if name in header else [part.strip() for part in name.split(JOINT)]


# Everything that is wrong with a table, gathered, so that it is said in one list with the options that
# mend it.


MOST = 20
"""Problems in one list; how many more there are is said."""


@dataclass
class _Problem:
    """One thing that is wrong, in one or more rows."""

    sentence: str
    option: str
    places: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        first, others = self.places[0] if self.places else "", len(self.places) - 1
        where = f"{first} and {others} more rows" if others > 0 else first
        return f"{where}: {self.sentence}" if where else self.sentence


class Problems:
    """What is wrong with a table; equal sentences about several rows are one problem."""

    def __init__(self) -> None:
        self._found: dict[str, _Problem] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, sentence: str, where: str = "", option: str = "") -> None:
        """Note a problem.

        Args:
            sentence: what is wrong, and what would be right.
            where: file and row; none where the sentence says it.
            option: of the command line, that mends it: `--label mell=mel`; none where no option does.
        """
        problem = self._found.setdefault(sentence, _Problem(sentence, option))
        if where:
            problem.places.append(where)

    def refuse(self) -> None:
        """Raises: UserError when there is any problem: the one, or all of them in a list."""
        if self._found:
            self._refuse()

    def _refuse(self) -> NoReturn:
        problems = list(self._found.values())
        options = [problem.option for problem in problems if problem.option]
        mended = f"this goes through with {' '.join(dict.fromkeys(options))}" if options else ""
        if mended and len(options) < len(problems):
            mended = mended.replace("this goes through with", "options that mend some of it:")
        if len(problems) == 1:
            raise UserError("; ".join(filter(None, (str(problems[0]), mended))))
        lines = [f"  {problem}" for problem in problems[:MOST]]
        if len(problems) > MOST:
            lines.append(f"  and {len(problems) - MOST} further problems")
        raise UserError("\n".join([f"{len(problems)} problems", *lines, *filter(None, [mended])]))


def option(name: str, ours: str, theirs: str) -> str:
    """An option as a shell takes it: `--column 'image_id=File name'`."""
    return f"{name} {shlex.quote(f'{ours}={theirs}')}"
