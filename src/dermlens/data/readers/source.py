"""Which form a data set has, and its rows as text; `table` types and checks them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.data.readers.names import BINARY, class_of, guess_columns, is_diagnosis, refuse_columns
from dermlens.data.readers.tables import (
    DX_FURTHER,
    is_companion,
    is_onehot,
    is_table,
    join_companions,
    read_columns,
    read_onehot,
)
from dermlens.errors import UserError, nearest
from dermlens.plugins import PluggedReader
from dermlens.predict.sources.folders import Survey, image_id_of, is_table_name, survey
from dermlens.predict.sources.tables import (
    JOINT,
    NAMES,
    Problems,
    Sheet,
    is_answers,
    option,
    read_header,
    read_sheet,
    theirs,
)
from dermlens.predict.sources.values import FIELDS
from dermlens.predict.sources.vocabulary import is_missing, plain

# Roles that a source gives its images: folders train/, val/ and test/, or a column that says so.


ROLE_OF_WORD = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "selection",
    "valid": "selection",
    "validation": "selection",
    "dev": "selection",
    "development": "selection",
    "tuning": "selection",
    "selection": "selection",
    "calibration": "calibration",
    "test": "test",
    "tst": "test",
    "testing": "test",
    "holdout": "test",
    "eval": "test",
}
COLUMN = re.compile(r"(.*_)?(split|role|subset|partition|set|fold|phase|group)")


def role_of_folders(folders: Sequence[str]) -> str:
    """The role that the nearest folder with a role's word in its name gives; empty where none does."""
    for folder in reversed(folders):
        roles = {ROLE_OF_WORD[word] for word in plain(folder).split() if word in ROLE_OF_WORD}
        if len(roles) == 1:
            return roles.pop()
    return ""


def role_column(sheet: Sheet) -> str | None:
    """The column whose cells are all words for roles, or empty."""
    for name in sheet.header:
        if COLUMN.fullmatch(plain(name).replace(" ", "_")):
            words = {plain(cell) for cell in sheet.column(name)} - {""}
            if words and words <= set(ROLE_OF_WORD):
                return name
    return None


def role_of_word(word: str) -> str:
    """The role that a cell gives; empty where it gives none."""
    return ROLE_OF_WORD.get(plain(word), "")


# Which data set or clinic an image comes from: its source.


INPUTS = ("age", "sex", "site")
AUDITED = ("dx", "dx_type", "source")
"""Columns that give the diagnosis away, or the clinic, whose class shares nearly do."""


def refuse_audited_inputs(columns: Mapping[str, str] | None) -> None:
    """Keep a column map from leading what is for audit only into the network.

    Raises:
        UserError: age, sex or site is mapped to a column of the diagnosis, its confirmation or the source.
    """
    for ours in INPUTS:
        mapped = (columns or {}).get(ours)
        for audited in AUDITED:
            if mapped is not None and _shared(mapped, (*NAMES[audited], (columns or {}).get(audited, ""))):
                raise UserError(
                    f"column map: {ours}={mapped} would make {audited} an input of the network; it is kept"
                    " for splits and audit alone, so map another column"
                )


def _shared(mapped: str, kept: Iterable[str]) -> bool:
    """Whether a mapped column, or one of those it joins, is one of some others, whatever its case."""
    theirs_plain = {plain(part) for name in kept if name for part in (name, *name.split(JOINT))}
    return any(plain(part) in theirs_plain for part in (mapped, *mapped.split(JOINT)))


def companion_sources(table: Path, others: Iterable[Path]) -> dict[Path, dict[str, str]]:
    """The source of each image from a file beside a table, such as HAM10000's `dataset_of_image.csv`.

    Args:
        table: the file that was read; it has no column of its own for the source.
        others: further tables of the data set; those in other folders are passed over.

    Returns:
        Source by image id, by the file that says it; of files beside it those that have both and no
        diagnosis.
    """
    found: dict[Path, dict[str, str]] = {}
    for path in sorted(path for path in others if path.absolute().parent == table.absolute().parent):
        header = read_header(path)
        if is_answers(header):
            continue
        image, source = theirs(header, "image_id"), theirs(header, "source")
        if image is None or source is None or theirs(header, "dx") is not None:
            continue
        sheet = read_sheet(path)
        found[path] = dict(zip(map(image_id_of, sheet.column(image)), sheet.column(source), strict=True))
    return found


def or_folder(said: pd.Series, folder: Path) -> list[str]:
    """The source that the data name for each image, or the name of their folder.

    Args:
        said: text, empty where the data do not say.
        folder: the data folder, or the table itself.
    """
    place = folder.parent if folder.is_file() else folder
    name = os.path.basename(os.path.abspath(place)) or "unknown"  # noqa: PTH100, PTH119 - links stay as laid
    return [name if is_missing(word) else word for word in said]


# A folder per class, named after it, with its images inside or further below.


def class_names(found: Survey) -> list[str]:
    """The names of the folders that hold images, sorted."""
    return sorted(
        {found.relative(path).split("/")[-2] for path in found.paths if "/" in found.relative(path)}
    )


def read_class_folders(found: Survey, is_class: Callable[[str], bool]) -> pd.DataFrame:
    """One row an image, its diagnosis the nearest folder above it that is named after a class.

    Args:
        found: the data folder.
        is_class: whether a name is that of a class or of a diagnosis.

    Returns:
        A frame of `image_id` (the file's path below the folder), `dx` and `where`, sorted by path; where no
        folder above is a class, `dx` is the folder that the image lies in.
    """
    rows = []
    for path in found.paths:
        relative = found.relative(path)
        folders = relative.split("/")[:-1]
        dx = next((name for name in reversed(folders) if is_class(name)), folders[-1] if folders else "")
        rows.append((relative, dx, str(found.folder / relative)))
    return pd.DataFrame(rows, columns=["image_id", "dx", "where"])


# Which form a data set has, and its rows as text. Nothing is taken that is not named in the account.


ZERO_ONE = {"0": "benign", "1": "malignant", "0.0": "benign", "1.0": "malignant"}
"""ISIC 2016's test truth writes its two classes so."""


@dataclass(frozen=True)
class Source:
    """A data set as text.

    Attributes:
        rows: the frame that `read_columns` describes; `image_id` is what the source calls the image.
        found: the files that lie around it.
        account: what was read.
        problems: what is wrong so far.
        roles: that the table gives, a role or empty for each row; none where it has no such column.
    """

    rows: pd.DataFrame
    found: Survey
    account: Account
    problems: Problems
    roles: list[str] | None = None


def read_source(
    source: Path,
    *,
    columns: Mapping[str, str] | None,
    classes: Collection[str],
    labels: Mapping[str, str],
    own_classes: bool,
) -> Source:
    """Find the form of a data set and read it.

    Args:
        source: its folder, or its table.
        columns: the source's column by ours; none or empty where it has our names.
        classes: the classes.
        labels: class by the source's diagnosis.
        own_classes: whether somebody asked for these classes; else two folders, benign and malignant, will
            do.

    Raises:
        UserError: there is no table and there are no class folders, there are several tables, the table lacks
        a
            column, or it holds what a model says.
    """
    refuse_audited_inputs(columns)
    columns = columns or None  # the command line and recipes say "no map" with an empty one
    if not source.exists():
        raise UserError(f"folder {source} does not exist; name the one that holds the images and their table")
    reader = _Reader(columns, {*classes, *labels, *(() if own_classes else BINARY)}, classes, labels)
    if source.is_file():
        found = survey(source.parent)
        above = Path(os.path.normpath(source.parent / ".."))
        if not found.images and (beside := survey(above)).images:
            read = reader.read(
                source,
                replace(beside, tables=found.tables),
            )
            read.account.notes.append(f"images: from {above}, since none lie beside the table")
            return read
        return reader.read(source, found)
    found = survey(source)
    table = reader.the_one(source, found)
    if table is not None:
        return reader.read(table, found)
    if columns is None and (folders := reader.read_folders(source, found)) is not None:
        return folders
    return reader.nothing(source, found)


def read_by_plugin(folder: Path, reader: PluggedReader) -> Source:
    """Read a data set as someone's own reader does.

    Args:
        folder: the data folder, or the table itself.
        reader: `data.reader` of a recipe.

    Raises:
        UserError: it may not be resolved, or it returned no frame, no `image_id` or `dx`, or a column of
            another name.
    """
    found, settings = reader.resolve()
    frame = found.function(folder, **settings)
    if not isinstance(frame, pd.DataFrame) or not len(frame):
        raise UserError(
            f"data.reader {reader.kind} returned {type(frame).__name__}, which has no row of an image"
        )
    for name in ("image_id", "dx"):
        if name not in frame:
            raise UserError(f"data.reader {reader.kind} returned no column {name}")
    if strange := [str(name) for name in frame if name not in NAMES]:
        raise UserError(
            f"data.reader {reader.kind} returned a column {strange[0]}, which is not"
            f" ours{nearest(strange[0], NAMES)}"
        )
    text = {
        name: ["" if pd.isna(cell) else str(cell) for cell in frame[name]]
        if name in frame
        else [""] * len(frame)
        for name in NAMES
    }
    where = [f"{reader.kind}, row {row}" for row in range(len(frame))]
    rows = pd.DataFrame({**text, DX_FURTHER: [()] * len(frame), "where": where})
    place = folder.parent if folder.is_file() else folder
    account = Account(folder, notes=[f"read by {reader.kind}"])
    return Source(rows, survey(place), account, Problems())


@dataclass(frozen=True)
class _Reader:
    columns: Mapping[str, str] | None
    known: Collection[str]
    classes: Collection[str]
    labels: Mapping[str, str]

    def is_class(self, name: str) -> bool:
        """Whether a folder of this name can hold the images of a class."""
        wanted = {plain(code) for code in self.known}
        return plain(name) in wanted or class_of(name, self.classes) is not None or is_diagnosis(name)

    def fits(self, header: Sequence[str], found: Survey) -> bool:
        """Whether a table with this header can be read."""
        if self.columns is not None:
            return is_table(header, self.columns)
        return is_table(header, None) or is_onehot(header, self.known) or _is_bare(header, found)

    def the_one(self, source: Path, found: Survey) -> Path | None:
        """Of several files the one that is the table: the nearest to the top that has the columns."""
        fit = [table for table in found.tables if self.fits(read_header(table), found)]
        nearest_to_top = [table for table in fit if len(table.parts) == len(fit[0].parts)]
        # Harvard Dataverse keeps the truth of the ISIC 2018 test set in HAM10000's record; to a one-hot
        # truth, a table of the other form is a companion.
        named = [table for table in nearest_to_top if table.stem == "HAM10000_metadata"]
        onehot = [table for table in nearest_to_top if is_onehot(read_header(table), self.known)]
        nearest_to_top = named[:1] or (onehot if self.columns is None else []) or nearest_to_top
        if len(nearest_to_top) > 1:
            raise UserError(
                f"{source} holds several tables: {', '.join(map(str, nearest_to_top))}; "
                "name the one that is meant"
            )
        return nearest_to_top[0] if nearest_to_top else None

    def read(self, table: Path, found: Survey) -> Source:
        """Read a table."""
        header = read_header(table)
        if is_answers(header):
            raise UserError(
                f"{table} holds what a model says of images (columns p_…), and no diagnosis that is "
                "known to be "
                "true; name the table with the diagnoses"
            )
        account, problems = Account(table), Problems()
        others = [other for other in found.tables if other.absolute() != table.absolute()]
        if self.columns is None and is_onehot(header, self.known):
            sheet = read_sheet(table)
            joined = [read_sheet(other) for other in others if is_companion(read_header(other), self.known)]
            rows = read_onehot(sheet, joined, self.known, account, problems)
        else:
            sheet = read_sheet(table)
            if self.columns is None and _is_bare(header, found):
                sheet = _with_words(sheet.with_header(("image_id", "dx")))
            if not self.fits(sheet.header, found):
                refuse_columns(sheet, found, self.columns, self.classes, self.labels)
            rows = read_columns(sheet, self.columns, account)
            joined = []
            if not rows["source"].any():
                rows = _with_sources(rows, companion_sources(table, others), account)
            self.note_unread(sheet, found, account)
        for each in (sheet, *joined):
            _note_image_types(each, account)
        account.not_read += [_why(other) for other in others if other not in account.joined]
        column = role_column(sheet)
        roles = None
        if column is not None and len(rows) == len(sheet.rows):
            roles = [role_of_word(cell) for cell in sheet.column(column)]
            account.unread = [name for name in account.unread if name != column]
        return Source(rows, found, account, problems, roles)

    def note_unread(self, sheet: Sheet, found: Survey, account: Account) -> None:
        """Say which columns hold what is not read from any."""
        taken = [*NAMES, *account.columns]
        held = guess_columns(sheet, found, self.classes, self.labels, taken)
        options = [
            option("--column", ours, name)
            for ours, name in held.items()
            if ours in FIELDS and ours not in (self.columns or {})
        ]
        if options:
            account.notes.append(
                f"age, sex or site may be in columns that were not read: {' '.join(options)}"
            )

    def read_folders(self, source: Path, found: Survey) -> Source | None:
        """Read a folder per class; none where no folder is named after one."""
        if found.others and not found.images:
            found.take_dicom()
        names = {part for path in found.paths for part in found.relative(path).split("/")[:-1]}
        wanted = {plain(code) for code in self.known}
        if not any(plain(name) in wanted or class_of(name, self.classes) is not None for name in names):
            return None
        account = Account(source, notes=["classes: the names of the folders that the images lie in"])
        joined = [read_sheet(other) for other in found.tables if is_companion(read_header(other))]
        rows = join_companions(read_class_folders(found, self.is_class), joined, account)
        account.not_read += [_why(other) for other in found.tables if other not in account.joined]
        return Source(rows, found, account, Problems())

    def nothing(self, source: Path, found: Survey) -> Source:
        """Say why there is nothing to read. Raises: UserError always."""
        tables = [table for table in found.tables if not is_answers(read_header(table))]
        if tables:
            return self.read(tables[0], found)  # which says what is missing
        if found.tables:
            return self.read(found.tables[0], found)  # which says that it is no truth
        if found.images:
            folders = ", ".join(class_names(found)[:5])
            above = [str(table) for table in _above(source) if self.fits(read_header(table), found)]
            named = f"; if {above[0]} is its table, name that" if above else ""
            raise UserError(
                f"{source} has images and no table: a CSV file with image_id and dx is wanted, "
                f"or a folder per class{f' (found: {folders})' if folders else ''}{named}{found.not_followed}"
            )
        raise UserError(
            f"{source} holds no images and no table; name the folder that holds both{found.not_followed}"
        )


def _with_sources(
    rows: pd.DataFrame, sources: Mapping[Path, Mapping[str, str]], account: Account
) -> pd.DataFrame:
    """The rows with the source of each image, from files beside the table."""
    said: dict[str, str] = {}
    for path, of_image in sources.items():
        said |= of_image
        account.joined.append(path)
    return rows.assign(source=[said.get(image_id_of(cell), "") for cell in rows["image_id"]])


def _above(folder: Path) -> list[Path]:
    """What may be the table of a folder that holds images alone: to be named, not to be read."""
    above = Path(os.path.normpath(folder / ".."))
    try:
        return [file for file in sorted(above.iterdir()) if is_table_name(file.name) and file.is_file()]
    except PermissionError:  # the folder above may be nobody's business
        return []


def _is_bare(header: Sequence[str], found: Survey) -> bool:
    """Whether a file names no columns: ISIC 2016's truth begins with an image and one of its two classes."""
    return (
        len(header) == 2
        and image_id_of(header[0]) in found.images
        and (header[1] in ZERO_ONE or plain(header[1]) in BINARY)
    )


def _note_image_types(sheet: Sheet, account: Account) -> None:
    """Say which images are no dermoscopy by the ISIC archive's column image_type."""
    if "image_type" in sheet.header:
        others = Counter(
            word for word in sheet.column("image_type") if plain(word) not in ("", "dermoscopic")
        )
        if others:
            named = ", ".join(f"'{word}' {count:,}" for word, count in others.most_common())
            account.notes.append(f"image_type: not dermoscopic, and read all the same: {named}")


def _with_words(sheet: Sheet) -> Sheet:
    rows = tuple((image, ZERO_ONE.get(dx, dx)) for image, dx in sheet.rows)
    return Sheet(sheet.path, sheet.header, rows, sheet.numbers)


def _why(table: Path) -> str:
    answers = is_answers(read_header(table))
    return f"{table} ({'what a model says is no truth' if answers else 'another table'})"
