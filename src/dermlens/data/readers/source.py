"""Which form a data set has, and its rows as text; `table` types and checks them."""

from __future__ import annotations

import os
import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.data.readers.companions import is_companion, join_companions, listed_roles
from dermlens.data.readers.diagnoses import BINARY, binary_of, class_of, is_diagnosis, is_onehot
from dermlens.data.readers.identity import refuse_audited_inputs
from dermlens.data.readers.names import (
    LESIONS,
    folder_column,
    groups_rows,
    guess_columns,
    image_column,
    is_birth_column,
    may_group,
    refuse_columns,
)
from dermlens.data.readers.roles import role_column, role_of_name, role_of_word, unused_column
from dermlens.data.readers.tables import (
    DX_FURTHER,
    class_names,
    is_table,
    read_class_folders,
    read_columns,
    read_onehot,
)
from dermlens.errors import UserError
from dermlens.predict.sources.folders import Survey, image_id_of, is_table_name, survey
from dermlens.predict.sources.sheets import Sheet, read_header, read_sheet
from dermlens.predict.sources.tables import JOINT, NAMES, NEEDED, Problems, is_answers, option, theirs
from dermlens.predict.sources.values import FIELDS
from dermlens.predict.sources.vocabulary import is_missing, plain

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
        folder_option: the option that says in which folder an image lies; empty where no column does.
    """

    rows: pd.DataFrame
    found: Survey
    account: Account
    problems: Problems
    roles: list[str] | None = None
    folder_option: str = ""


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
        a column, or it holds what a model says.
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
    tables = reader.tables(source, found)
    if tables:
        return reader.read_together(tables, found)
    if columns is None and (folders := reader.read_folders(source, found)) is not None:
        return folders
    return reader.nothing(source, found)


@dataclass(frozen=True)
class _Reader:
    columns: Mapping[str, str] | None
    known: Collection[str]
    classes: Collection[str]
    labels: Mapping[str, str]

    def is_class(self, name: str) -> bool:
        """Whether a folder of this name can hold the images of a class."""
        wanted = {plain(code) for code in self.known}
        return (
            plain(name) in wanted
            or class_of(name, self.classes) is not None
            or is_diagnosis(name)
            or (binary_of(name) in self.known)
        )

    def fits(self, header: Sequence[str], found: Survey) -> bool:
        """Whether a table with this header can be read."""
        if any(ours in (self.columns or {}) for ours in NEEDED):
            return is_table(header, self.columns)
        return is_table(header, self.columns) or self.is_truth(header) or _is_bare(header, found)

    def is_truth(self, header: Sequence[str]) -> bool:
        """Whether a table with this header has one-hot columns, and no map names another diagnosis."""
        return "dx" not in (self.columns or {}) and is_onehot(header, self.known)

    def tables(self, source: Path, found: Survey) -> list[Path]:
        """Of several files the one that is the table: the nearest to the top that has the columns.

        Or the several that are one by their names, train.csv, val.csv and test.csv.
        """
        fit = [
            table
            for table in found.tables
            if not _is_named_as_answers(table) and self.fits(read_header(table), found)
        ]
        nearest_to_top = [table for table in fit if len(table.parts) == len(fit[0].parts)]
        # Harvard Dataverse keeps the truth of the ISIC 2018 test set in HAM10000's record; to a one-hot
        # truth, a table of the other form is a companion.
        named = [table for table in nearest_to_top if table.stem == "HAM10000_metadata"]
        onehot = [table for table in nearest_to_top if self.is_truth(read_header(table))]
        nearest_to_top = named[:1] or onehot or nearest_to_top
        if len(nearest_to_top) > 1:
            with_truth = [table for table in nearest_to_top if not self.is_without_truth(table)]
            roles = [role_of_name(table.stem) for table in with_truth]
            if len(with_truth) > 1 and not (all(roles) and len(set(roles)) == len(roles)):
                raise UserError(
                    f"{source} holds several tables: {', '.join(map(str, with_truth))}; name the one that"
                    " is meant"
                )
            return with_truth or nearest_to_top[:1]
        return nearest_to_top

    def is_without_truth(self, table: Path) -> bool:
        """Whether a table has a column of diagnoses and not one diagnosis: test sets are published so."""
        header = read_header(table)
        if self.is_truth(header) or not is_table(header, self.columns):
            return False
        return all(
            is_missing(word) and not any(more)
            for word, more in read_columns(read_sheet(table), self.columns)[["dx", DX_FURTHER]].itertuples(
                index=False
            )
        )

    def read_together(self, tables: Sequence[Path], found: Survey) -> Source:
        """Read tables that make one, each of a role by its name; one alone as it is."""
        read = [self.read(table, found) for table in tables]
        first = read[0]
        if len(tables) == 1:
            return first
        problems = first.problems
        account, roles = first.account, list[str]()
        for table, one in zip(tables, read, strict=True):
            roles += one.roles or [role_of_name(table.stem)] * len(one.rows)
            if one is not first:
                problems.join(one.problems)
                account.join(one.account)
        account.not_read = [
            why for why in account.not_read if not any(why.startswith(f"{t} (") for t in tables)
        ]
        named = ", ".join(f"{table.name} ({role_of_name(table.stem)})" for table in tables)
        account.notes.append(f"read as one table, with roles by their names: {named}")
        rows = pd.concat([one.rows for one in read], ignore_index=True)
        return Source(rows, found, account, problems, roles)

    def read(self, table: Path, found: Survey) -> Source:
        """Read a table."""
        header = read_header(table)
        if is_answers(header):
            raise UserError(
                f"{table} holds what a model says of images (columns such as p_…, set, flagged), and no"
                " diagnosis that is known to be true; name the table with the diagnoses"
            )
        account, problems = Account(table), Problems()
        others = [other for other in found.tables if other.absolute() != table.absolute()]
        if self.is_truth(header):
            sheet = read_sheet(table)
            joined = [read_sheet(other) for other in others if is_companion(read_header(other), self.known)]
            rows = read_onehot(sheet, joined, self.known, account, problems, self.columns)
            rows = join_companions(rows, joined, account)
        else:
            sheet = read_sheet(table)
            if self.columns is None and _is_bare(header, found):
                sheet = _with_words(sheet.with_header(("image_id", "dx")))
            if not self.fits(sheet.header, found):
                refuse_columns(sheet, found, self.columns, self.classes, self.labels)
            rows = read_columns(sheet, self.columns, account)
            own = {*(self.columns or {}), *NEEDED}
            lacking = [ours for ours in NAMES if ours not in own and not any(rows[ours])]
            joined = [
                read_sheet(other)
                for other in others
                if is_companion(read_header(other), self.known) and theirs(read_header(other), "dx") is None
            ]
            rows = join_companions(rows, joined, account, lacking)
            self.note_unread(sheet, found, account)
        if (better := image_column(sheet, rows["image_id"], found)) is not None:
            problems.add(
                f"{table}: column {better} holds the names of the images that are here",
                "",
                f"--column image_id={better}",
            )
        if sheet.encoding:
            account.notes.append(f"{table}: {sheet.encoding}")
        for each in (sheet, *joined):
            _note_image_types(each, account)
        known = [one.path for one in joined]
        account.not_read += [_why(other) for other in others if other not in known]
        column = role_column(sheet)
        roles = None
        if column is not None and len(rows) == len(sheet.rows):
            roles = [role_of_word(cell) for cell in sheet.column(column)]
            account.unread = [name for name in account.unread if name != column]
            if "source" in (
                column,
                account.columns.get(column),
            ):  # such as `dataset`: no clinic is called train
                account.columns.pop(column, None)
                rows["source"] = ""
            if len({*roles} - {""}) > 1:
                account.notes.append(f"roles: column {column}")
        elif (roles := listed_roles(rows["image_id"].tolist(), found, [table, *known], account)) is not None:
            pass
        elif (unused := unused_column(sheet)) is not None:
            account.notes.append(unused)
        folder = folder_column(sheet, rows["image_id"].tolist(), found)
        image = theirs(sheet.header, "image_id", self.columns)
        mend = option("--column", "image_id", f"{folder}{JOINT}{image}") if folder and image else ""
        return Source(rows, found, account, problems, roles, mend)

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
        if births := [name for name in account.unread if is_birth_column(sheet, name)]:
            account.notes.append(
                f"dates of birth, and perhaps who somebody is, stand in {', '.join(births)}: not read; an "
                "age is a number of years on the day of the photograph"
            )
        groups = [name for name in account.unread if may_group(sheet, name)]
        lesions = [name for name in account.unread if plain(name) in LESIONS and groups_rows(sheet, name)]
        if lesions and "lesion_id" not in {*account.columns.values(), *sheet.header}:
            account.notes.append(
                f"images with equal values of {', '.join(lesions)} may be of one lesion: --column"
                f" {shlex.quote(f'lesion_id={lesions[0]}')} keeps those together"
            )
        if groups and "patient_id" not in {*account.columns.values(), *sheet.header}:
            account.notes.append(
                f"images with equal values of {', '.join(groups)} may be of one patient: --column"
                f" {shlex.quote(f'patient_id={groups[0]}')} keeps those together"
            )

    def read_folders(self, source: Path, found: Survey) -> Source | None:
        """Read a folder per class; none where no folder is named after one."""
        if found.others and not found.images:
            found.take_dicom()
        names = {part for path in found.paths for part in found.relative(path).split("/")[:-1]}
        wanted = {plain(code) for code in self.known}
        if not any(
            plain(name) in wanted or class_of(name, self.classes) is not None or binary_of(name) in self.known
            for name in names
        ):
            return None
        account = Account(source, notes=["classes: the names of the folders that the images lie in"])
        joined = [
            read_sheet(other)
            for other in found.tables
            if not _is_named_as_answers(other) and is_companion(read_header(other))
        ]
        rows = join_companions(read_class_folders(found, self.is_class), joined, account)
        known = [one.path for one in joined]
        account.not_read += [_why(other) for other in found.tables if other not in known]
        roles = listed_roles(rows["image_id"].tolist(), found, known, account)
        return Source(rows, found, account, Problems(), roles)

    def nothing(self, source: Path, found: Survey) -> Source:
        """Say why there is nothing to read. Raises: UserError always."""
        tables = [table for table in found.tables if not is_answers(read_header(table))]
        if (doubtful := [table for table in tables if _is_named_as_answers(table)]) and doubtful == tables:
            raise UserError(
                f"{source} holds no table but {doubtful[0]}, which by its name is what a model says; if it "
                "is the truth, name it"
            )
        if tables:
            return self.read(
                next(table for table in tables if table not in doubtful), found
            )  # which says what is missing
        if found.tables:
            return self.read(found.tables[0], found)  # which says that it is no truth
        if found.images:
            folders = ", ".join(class_names(found)[:5])
            texts = [Path(other) for other in found.others if other.lower().endswith(".txt")]
            fit = [text for text in texts if self.fits(read_header(text), found)]
            if fit:
                raise UserError(
                    f"{source} has images and no table of the usual names; if {fit[0]} is it, name that"
                )
            above = [str(table) for table in _above(source) if self.fits(read_header(table), found)]
            named = f"; if {above[0]} is its table, name that" if above else ""
            raise UserError(
                f"{source} has images and no table: a CSV file with image_id and dx is wanted, "
                f"or a folder per class{f' (found: {folders})' if folders else ''}{named}{found.not_followed}"
            )
        raise UserError(
            f"{source} holds no images and no table; name the folder that holds both{found.not_followed}"
        )


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


def _is_named_as_answers(table: Path) -> bool:
    """Whether a table is what a model says, by its name: nobody is asked whether it is the truth."""
    return (
        re.fullmatch(
            r"(?:.*[ _.-])?(?:answers?|predictions?|preds?|submission)(?:[ _.-]?\d+)?", table.stem.lower()
        )
        is not None
    )


def _why(table: Path) -> str:
    answers = is_answers(read_header(table)) or _is_named_as_answers(table)
    return f"{table} ({'what a model says is no truth' if answers else 'another table'})"
