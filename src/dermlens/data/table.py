"""The LesionTable: one row an image, who and what it shows, whatever form the source has."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pandas as pd
import pandera.pandas as pa

from dermlens.data.config import DataConfig
from dermlens.data.readers.account import Account, telltales
from dermlens.data.readers.diagnoses import BINARY, class_of
from dermlens.data.readers.identity import (
    check_formulas,
    check_twice,
    checked_ids,
    complete_from_headers,
    or_folder,
    paths_of,
)
from dermlens.data.readers.names import Diagnoses, classes_of, is_binary
from dermlens.data.readers.roles import source_roles
from dermlens.data.readers.source import Source, read_source
from dermlens.data.readers.tables import DX_FURTHER
from dermlens.errors import UserError, nearest
from dermlens.plugins import PluggedReader
from dermlens.predict.owners import lesions_of, patients_of
from dermlens.predict.sources.folders import locate, survey
from dermlens.predict.sources.tables import JOINT, NAMES, Problems
from dermlens.predict.sources.values import DARKEST, LIGHTEST, ValueMap, Values
from dermlens.predict.sources.vocabulary import OLDEST, is_missing

log = logging.getLogger("dermlens.data")
"""Takes the account of data where the caller wants the table alone; the command line prints it."""
IDENTITY = ("image_id", "lesion_id", "dx", "age", "sex", "site")
"""The columns that say which data these are: a table's hash is over them."""


class Maps(TypedDict, total=False):
    """What a source calls its columns, diagnoses and words, and the valid classes: as for `read_table`."""

    columns: Mapping[str, str] | None
    labels: Mapping[str, str] | None
    values: ValueMap | None
    classes: Sequence[str] | None


def schema(classes: Sequence[str]) -> pa.DataFrameSchema:
    """What every LesionTable keeps to; `read_table` says the same in sentences before it comes to this."""
    text = pa.Check.str_length(min_value=1)
    return pa.DataFrameSchema(
        {
            "image_id": pa.Column(str, text, unique=True),
            "lesion_id": pa.Column(str, text),
            "patient_id": pa.Column(object, nullable=True),
            "dx": pa.Column(str, pa.Check.isin(list(classes))),
            "age": pa.Column(float, pa.Check.in_range(0, OLDEST), nullable=True),
            "sex": pa.Column(str, pa.Check.isin(["female", "male", "unknown"])),
            "site": pa.Column(str, text),
            "path": pa.Column(str, text),
            "dx_type": pa.Column(str, text),
            "source": pa.Column(str, text),
            "mask": pa.Column(object, nullable=True),
            "aspect": pa.Column(float, pa.Check.in_range(0.25, 4), nullable=True),
            "skin_tone": pa.Column(
                float, pa.Check.isin(range(DARKEST, LIGHTEST + 1)), nullable=True, required=False
            ),
        },
        index=pa.Index(int),
        strict=True,
        ordered=True,
    )


@dataclass(frozen=True)
class Reading:
    """A data set as it was read.

    Attributes:
        table: the LesionTable.
        account: what was made of the source: which table was read, what was mapped, dropped and left out.
        roles: train, selection, calibration or test by image id, where the source's folders or a column of
            its table give them; empty where they do not.
    """

    table: pd.DataFrame
    account: Account
    roles: dict[str, str]

    def announced(self) -> pd.DataFrame:
        """The table; its account goes to the log."""
        return self.announced_to(lambda sentence: log.info("%s", sentence))

    def announced_to(self, say: Callable[[str], None] | None) -> pd.DataFrame:
        """The table; each sentence of its account goes to `say`, if there is one."""
        if say is not None:
            for sentence in self.account.sentences():
                say(sentence)
        return self.table


def read_table(
    folder: Path,
    *,
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    values: ValueMap | None = None,
    classes: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    squashed: Mapping[str, tuple[float, float]] | None = None,
    check_files: bool = True,
) -> pd.DataFrame:
    """Read a labelled data set into a LesionTable; `read_set` also says what was made of the source.

    Args:
        folder: the data folder, or the table itself where a folder holds several.
        columns: the source's column by ours, where the source has names of its own: `{"image_id": "Datei"}`;
            several are joined with a plus: `{"lesion_id": "patient_id+lesion_id"}`.
        labels: our class by the source's diagnosis, where it has codes of its own: `{"NEV": "nv"}`; an empty
            one leaves the images out.
        values: the source's words for ages, sexes and sites by ours: `{"sex.male": "h"}`.
        classes: the valid classes; none takes the seven of HAM10000 or, where `labels` leads outside them,
            the classes it leads to, or `benign` and `malignant` where the source says no more.
        skip: diagnoses, in the source's own words, whose images are left out, such as `other`.
        squashed: for sources whose files are out of proportion, width and height of the scene that they show:
            `{"isic2017": (4, 3)}`.
        check_files: whether every listed image must be there.

    Returns:
        A frame with index 0 … N−1 in the source's order: `image_id` (unique: the file's name without suffix,
        or its path where different files share that), `lesion_id` (the image id where the source has none),
        `patient_id` (None where unknown), `dx` (one of the classes), `age` (float years, 0 to 120, NaN where
        missing), `sex` (female, male, unknown), `site` (a word of `vocabulary`, `unknown` where
        missing), `path` (absolute), `dx_type` (`unknown` where missing), `source` (the data set or clinic;
        the folder's name where the data do not say), `mask` (absolute path of the lesion mask, or None),
        `aspect` (width over height of what a squashed file shows, NaN where a file is in proportion). Where
        the source grades any skin tone, also `skin_tone` (whole, 0 darkest to 5 lightest, NaN where missing).

        `dx_type` (how a diagnosis was confirmed) and `source` are kept for splits and audit. They must never
        be inputs of a model: lesions that look malignant are the ones that are biopsied, and clinics differ
        in what they see, so both give the diagnosis away. `skin_tone` is no input either: it is there to see
        whether answers are as good on all skins.

    Raises:
        UserError: all that is wrong, with files and rows.
    """
    return read_set(
        folder,
        columns=columns,
        labels=labels,
        values=values,
        classes=classes,
        skip=skip,
        squashed=squashed,
        check_files=check_files,
    ).table


def read_set(
    folder: Path,
    *,
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    values: ValueMap | None = None,
    classes: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    squashed: Mapping[str, tuple[float, float]] | None = None,
    reader: PluggedReader | None = None,
    check_files: bool = True,
) -> Reading:
    """Read a labelled data set, its form found out from what lies there.

    The forms: HAM10000 as published (7 or 8 columns); the ISIC challenges of 2016 to 2020 (one-hot columns,
    lesion groupings and metadata if they are there); tables of the ISIC archive; MILK10k; PAD-UFES-20;
    Derm7pt; BCN20000; any table with a column map; a folder per class.

    The arguments are those of `read_table`; `reader` reads the rows in the place of the readers here.

    Raises:
        UserError: as `read_table`; or a reader from outside returned what is no table of images.
    """
    columns = {ours: unicodedata.normalize("NFC", name) for ours, name in (columns or {}).items()}
    labels = {unicodedata.normalize("NFC", word): code for word, code in (labels or {}).items()}
    codes = classes_of(classes, labels)
    labels |= {unicodedata.normalize("NFC", word): "" for word in skip}
    source = (
        read_by_plugin(Path(folder), reader)
        if reader is not None
        else read_source(
            Path(folder), columns=columns, classes=codes, labels=labels, own_classes=classes is not None
        )
    )
    rows, account, problems = source.rows, source.account, source.problems
    firsts = (
        word or next(filter(None, more), "") for word, more in zip(rows["dx"], rows[DX_FURTHER], strict=True)
    )
    if classes is None and codes == classes_of(None, None) and is_binary(firsts):
        codes = BINARY
        account.notes.append("classes: benign and malignant, since the source says no more")
    where = rows["where"].tolist()
    rows = rows.assign(image_id=checked_ids(rows, problems))
    diagnoses = Diagnoses(codes, labels, account, problems)
    further = zip(rows["dx"], rows[DX_FURTHER], where, rows["image_id"], strict=True)
    dx = [diagnoses.code_of(word, more, place, image) for word, more, place, image in further]
    kept = [row for row, code in enumerate(dx) if code is not None]
    rows = rows.iloc[kept].reset_index(drop=True)
    where = rows["where"].tolist()
    located = locate(rows["image_id"].tolist(), where, source.found, problems, mend=source.folder_option)
    check_twice(located.ids, where, problems)
    for (stated, lies), count in located.by_name.items():
        account.notes.append(
            f"{count:,} images were taken by their names from {lies}: the table states {stated}, which "
            "is not here"
        )
    words = Values(values, account, problems)
    folders = [source.found.relative(path).split("/")[:-1] if path else [] for path in located.paths]
    patients = patients_of(rows["patient_id"].tolist(), folders, located.paths, located.ids, account.notes)
    joint = JOINT in columns.get("lesion_id", "")
    named = lesions_of(rows["lesion_id"].tolist(), patients, account.notes, joint=joint)
    lesions = [lesion or image_id for lesion, image_id in zip(named, located.ids, strict=True)]
    check_formulas("lesion", lesions, where, problems)
    origins = or_folder(rows["source"], Path(folder))
    aspect = {name: width / height for name, (width, height) in (squashed or {}).items()}
    table = pd.DataFrame(
        {
            "image_id": pd.Series(located.ids, dtype=str),
            "lesion_id": lesions,
            "patient_id": pd.Series(patients, dtype=object),
            "dx": [dx[row] for row in kept],
            "age": pd.Series(words.ages(rows["age"].tolist(), where), dtype=float),
            "sex": words.sexes(rows["sex"].tolist(), where),
            "site": words.sites(rows["site"].tolist()),
            "path": paths_of(
                located.ids, located.paths, where, source.found, problems, check_files=check_files
            ),
            "dx_type": ["unknown" if is_missing(word) else word for word in rows["dx_type"]],
            "source": origins,
            "mask": pd.Series(
                [source.found.mask(path) if path else None for path in located.paths], dtype=object
            ),
            "aspect": pd.Series([aspect.get(name, math.nan) for name in origins], dtype=float),
        }
    )
    tones = pd.Series(words.skin_tones(rows["skin_tone"].tolist()), dtype=float)
    if tones.notna().any():
        table["skin_tone"] = tones
    problems.refuse()
    complete_from_headers(table, account)
    if not kept:
        raise UserError(f"{account.source}: no image is left: {'; '.join(account.losses())}")
    if source.found.left_out:
        account.notes.append(source.found.left_out)
    given = None if source.roles is None else [source.roles[row] for row in kept]
    roles = source_roles(given, folders, located.ids, account)
    _note(table, source, codes, labels, account)
    return Reading(schema(codes).validate(table), account, roles)


def read_configured(data: Path, config: DataConfig, *, check_files: bool = True) -> pd.DataFrame:
    """Read a data set as a recipe's `data` section maps its columns, labels and values, and announce it.

    Args:
        data: the data folder, or the table itself; where the recipe names `folders`, the folder that holds
            them.
        config: the section.
        check_files: whether every listed image must be there.

    Returns:
        One table. Equal lesion ids in two folders are one lesion, equal patient ids one patient.

    Raises:
        UserError: as `read_table`, a folder is not there, or an image id is in two folders.
    """
    read = read_configured_set(data, config, check_files=check_files)
    return read.announced() if check_files else read.table


def read_configured_set(data: Path, config: DataConfig, *, check_files: bool = True) -> Reading:
    """As `read_configured`, with what was made of the source."""
    if not config.folders:
        read = [_read_one(data, config, check_files=check_files)]
    elif data.is_file():
        raise UserError(f"{data} is a file; data.folders needs the folder that holds {config.folders[0]}")
    else:
        read = [_read_one(data / folder, config, check_files=check_files) for folder in config.folders]
    if len(read) == 1:
        return read[0]
    table = pd.concat([one.table for one in read], ignore_index=True)
    if (twice := table["image_id"].duplicated()).any():
        image_id = table.loc[twice, "image_id"].iloc[0]
        folders = [
            name
            for name, one in zip(config.folders, read, strict=True)
            if image_id in set(one.table["image_id"])
        ]
        raise UserError(f"image {image_id} is in {' and '.join(folders)} of {data}; it can have one row")
    together = {image_id: role for one in read for image_id, role in one.roles.items()}
    roles = together if all(one.roles for one in read) else {}  # of some folders alone they are no split
    return Reading(table, Account(data, parts=[one.account for one in read]), roles)


def _read_one(data: Path, config: DataConfig, *, check_files: bool) -> Reading:
    return read_set(
        data,
        columns=config.columns,
        labels=config.labels,
        values=config.values,
        classes=config.classes,
        skip=config.skip,
        squashed=config.squashed,
        reader=config.reader,
        check_files=check_files,
    )


def table_sha256(table: pd.DataFrame) -> str:
    """SHA-256 of who and what a table shows: the columns of `IDENTITY`, not row order or paths."""
    ordered = table.sort_values("image_id")
    ages = ["" if math.isnan(age) else repr(float(age)) for age in ordered["age"]]
    cells = [ages if name == "age" else ordered[name].tolist() for name in IDENTITY]
    lines = ["\t".join(row) for row in zip(*cells, strict=True)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _note(
    table: pd.DataFrame, source: Source, classes: Sequence[str], labels: Mapping[str, str], account: Account
) -> None:
    """What else a person should know of the source before training on it."""
    patients = table["patient_id"].dropna()
    if len(patients):
        unknown = len(table) - len(patients)
        account.notes.append(
            f"patients: {patients.nunique():,}, of {len(patients):,} images"
            + (
                f"; {unknown:,} images have no patient_id, and each of their lesions counts as a patient"
                if unknown
                else ""
            )
            + "; grouped splits keep a patient's lesions in one role"
        )
    account.notes += telltales(table)
    if source.account.source.is_dir():
        return  # the folders are the diagnoses
    contrary = 0
    folders = table["path"].map(os.path.dirname)
    for folder, dx in zip(folders.map(os.path.basename), table["dx"], strict=True):
        code = labels.get(folder) or class_of(folder, classes)
        contrary += code is not None and code != dx
    if contrary:
        account.notes.append(
            f"{contrary:,} images lie in a folder of another diagnosis than the table's, which counts"
        )


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
