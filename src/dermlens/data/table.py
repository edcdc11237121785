"""The LesionTable: one row an image, who and what it shows, whatever form the source has."""

from __future__ import annotations

import hashlib
import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from dermlens.data.config import DataConfig
from dermlens.data.readers.account import Account, Values, telltales
from dermlens.data.readers.diagnoses import BINARY, class_of
from dermlens.data.readers.names import Diagnoses, classes_of, is_binary
from dermlens.data.readers.roles import role_of_folders, unused_folders
from dermlens.data.readers.source import Source, or_folder, read_by_plugin, read_source
from dermlens.data.readers.tables import DX_FURTHER
from dermlens.errors import UserError
from dermlens.plugins import PluggedReader
from dermlens.predict.pictures.dicom import colour_doubt, dicom_patient
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.sources.folders import Survey, begins_as_dicom, image_id_of, locate, split_name
from dermlens.predict.sources.tables import JOINT, Problems, is_formula
from dermlens.predict.sources.values import ValueMap
from dermlens.predict.sources.vocabulary import OLDEST, is_missing

UNFIT = ("Cc", "Zl", "Zp")
"""Unicode's categories of characters that no id may hold: controls, and ends of lines."""
PATIENT = re.compile(
    r"(?:patient|patientin|pat|pt|paciente|paziente|proband|subject|subj|sub|hasta|person|case|fall)"
    r"[ _.-]*[a-z]{0,3}\d+"
    r"|(?:patient|patientin|paciente|paziente|subject|hasta|person)[ _.-]+\w+|p[ _-]?\d+|IP_\d+",
    re.IGNORECASE,
)
"""Names of folders that hold the images of one patient."""
IDENTITY = ("image_id", "lesion_id", "dx", "age", "sex", "site")
"""The columns that say which data these are: a table's hash is over them."""


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
            its
            table give them; empty where they do not.
    """

    table: pd.DataFrame
    account: Account
    roles: dict[str, str]


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
            one
            leaves the images out.
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
        `aspect` (width over height of what a squashed file shows, NaN where a file is in proportion).

        `dx_type` (how a diagnosis was confirmed) and `source` are kept for splits and audit. They must never
        be inputs of a model: lesions that look malignant are the ones that are biopsied, and clinics differ
        in what they see, so both give the diagnosis away.

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

    Args:
        folder: as for `read_table`.
        columns: likewise.
        labels: likewise.
        values: likewise.
        classes: likewise.
        skip: likewise.
        squashed: likewise.
        reader: reads the rows in the place of the readers here.
        check_files: likewise.

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
    rows = rows.assign(image_id=_checked_ids(rows, problems))
    diagnoses = Diagnoses(codes, labels, account, problems)
    further = zip(rows["dx"], rows[DX_FURTHER], where, rows["image_id"], strict=True)
    dx = [diagnoses.code_of(word, more, place, image) for word, more, place, image in further]
    kept = [row for row, code in enumerate(dx) if code is not None]
    rows = rows.iloc[kept].reset_index(drop=True)
    where = rows["where"].tolist()
    located = locate(rows["image_id"].tolist(), where, source.found, problems)
    _check_twice(located.ids, where, problems)
    for (stated, lies), count in located.by_name.items():
        account.notes.append(
            f"{count:,} images were taken by their names from {lies}: the table states {stated}, which "
            "is not here"
        )
    words = Values(values, account, problems)
    patients = [None if is_missing(word) else word for word in rows["patient_id"]]
    folders = [source.found.relative(path).split("/")[:-1] if path else [] for path in located.paths]
    if not any(patients):
        patients = _patients_of_folders(folders, account)
    lesions = _lesions(rows["lesion_id"].tolist(), patients, located.ids, account, columns)
    for lesion_id, row in zip(lesions, where, strict=True):
        if (problem := _formula("lesion", lesion_id)) is not None:
            problems.add(problem, row)
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
            "path": _paths(
                located.ids, located.paths, where, source.found, problems, check_files=check_files
            ),
            "dx_type": [_or_unknown(word) for word in rows["dx_type"]],
            "source": origins,
            "mask": pd.Series(
                [source.found.mask(path) if path else None for path in located.paths], dtype=object
            ),
            "aspect": pd.Series([aspect.get(name, math.nan) for name in origins], dtype=float),
        }
    )
    problems.refuse()
    _complete(table, account)
    if not kept:
        raise UserError(f"{account.source}: no image is left: {'; '.join(account.losses())}")
    if source.found.left_out:
        account.notes.append(source.found.left_out)
    roles = _roles(source, kept, located.ids, located.paths, account)
    _note(table, source, codes, labels, account)
    return Reading(schema(codes).validate(table), account, roles)


def read_configured(data: Path, config: DataConfig, *, check_files: bool = True) -> pd.DataFrame:
    """Read a data set as a recipe's `data` section maps its columns, labels and values.

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
    return read_configured_set(data, config, check_files=check_files).table


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


def _check_twice(image_ids: Sequence[str], where: Sequence[str], problems: Problems) -> None:
    first: dict[str, str] = {}
    for image_id, row in zip(image_ids, where, strict=True):
        if image_id and image_id in first:
            problems.add(f"image {image_id} stands already in {first[image_id]}; an image has one row", row)
        first.setdefault(image_id, row)


def _is_unfit(text: str) -> bool:
    return not text.isprintable() and any(unicodedata.category(character) in UNFIT for character in text)


def _checked_ids(rows: pd.DataFrame, problems: Problems) -> list[str]:
    """What the source calls its images; empty where that can be no name, which is a problem.

    Ids go into CSV files line by line, and an image's names files besides.
    """
    checked = []
    for image_id, lesion_id, row in zip(rows["image_id"], rows["lesion_id"], rows["where"], strict=True):
        if _is_unfit(lesion_id):
            problems.add(f"lesion id {lesion_id!r} holds a control character or a line break", row)
        problem = None
        if not image_id:
            problem = "no image id; every row names one image"
        elif _is_unfit(image_id):
            problem = f"image id {image_id!r} holds a control character or a line break"
        elif ".." in image_id.replace("\\", "/").rpartition("/")[2]:
            problem = f"image id '{image_id}' is a path; it is a file's name, without '..'"
        else:
            problem = _formula("image", image_id) or _formula("image", image_id_of(image_id))
        if problem is not None:
            problems.add(problem, row)
        checked.append("" if problem is not None else image_id)
    return checked


def _formula(what: str, said: str) -> str | None:
    """What is wrong with an id that a spreadsheet would run: ids go into tables of answers."""
    if not is_formula(said):
        return None
    return (
        f"{what} id '{said}' begins as a formula does, which a spreadsheet would run in tables of answers; "
        "begin it with a letter or a digit"
    )


def _patients_of_folders(folders: Sequence[Sequence[str]], account: Account) -> list[str | None]:
    """The patient of each image by its folder, `patient_12/`, where most lie in such a one."""
    found = [next((name for name in reversed(names) if PATIENT.fullmatch(name)), None) for names in folders]
    named = sum(name is not None for name in found)
    if not named or named < len(found) / 2:
        return [None] * len(found)
    first = next(filter(None, found))
    account.notes.append(f"patients: by the folders that the images lie in, such as {first}")
    return found


def _lesions(
    lesion_ids: list[str],
    patients: list[str | None],
    image_ids: list[str],
    account: Account,
    columns: Mapping[str, str],
) -> list[str]:
    """Lesion ids; the image's where there is none, and joined with the patient's where patients share
    them.
    """
    known = ["" if is_missing(lesion) else lesion for lesion in lesion_ids]
    of_lesion: dict[str, set[str]] = {}
    for lesion, patient in zip(known, patients, strict=True):
        if lesion and patient is not None:
            of_lesion.setdefault(lesion, set()).add(patient)
    shared = sum(len(owners) > 1 for owners in of_lesion.values())
    if shared and JOINT not in columns.get("lesion_id", ""):
        account.notes.append(
            f"lesion_id: {shared:,} ids are of several patients each, so lesions are read as "
            "patient_id+lesion_id"
        )
        known = [
            f"{patient}_{lesion}" if lesion and patient is not None else lesion
            for lesion, patient in zip(known, patients, strict=True)
        ]
    return [lesion or image_id for lesion, image_id in zip(known, image_ids, strict=True)]


def _paths(
    image_ids: Sequence[str],
    paths: Sequence[str | None],
    where: Sequence[str],
    found: Survey,
    problems: Problems,
    *,
    check_files: bool,
) -> list[str]:
    """Absolute paths; where a file is missing and may be, the one it would have."""
    missing = [i for i, path in enumerate(paths) if path is None and image_ids[i]]
    if missing and check_files:
        problems.add(
            f"image {image_ids[missing[0]]} is not in {found.folder}; "
            f"{len(missing)} of {len(paths)} listed images are missing{found.not_followed}",
            where[missing[0]],
        )
    beside = next((Path(path).parent for path in paths if path is not None), found.folder.absolute())
    return [path or _absent(beside, name) for name, path in zip(image_ids, paths, strict=True)]


def _absent(folder: Path, name: str) -> str:
    """The path that a missing image would have; never that of a link that was not followed."""
    would = folder / f"{name}.jpg"
    return str(would if not os.path.lexists(would) else would.with_suffix(".missing"))


def _complete(table: pd.DataFrame, account: Account) -> None:
    """Fill ages and sexes that the table does not give from DICOM headers, as prediction does."""
    filled = {"age": 0, "sex": 0}
    ages, sexes = table["age"].tolist(), table["sex"].tolist()
    doubts: dict[str, list[str]] = {}
    for row, path in enumerate(table["path"]):
        lacks = math.isnan(ages[row]), sexes[row] == "unknown"
        if split_name(path)[1] not in ("", ".dcm", ".dicom") or not begins_as_dicom(Path(path)):
            continue
        try:
            if (doubt := colour_doubt(Path(path))) is not None:
                doubts.setdefault(doubt, []).append(table["image_id"].iloc[row])
            age, sex = dicom_patient(path, Path(path).read_bytes()) if any(lacks) else (None, None)
        except (ImageError, OSError):  # whoever reads its pixels says so
            continue
        if lacks[0] and age is not None:
            ages[row], filled["age"] = age, filled["age"] + 1
        if lacks[1] and sex is not None:
            sexes[row], filled["sex"] = sex, filled["sex"] + 1
    table["age"], table["sex"] = ages, sexes
    account.notes += [
        f"{doubt}: {len(ids):,} images ({', '.join(ids[:5])}{', …' if len(ids) > 5 else ''})"
        for doubt, ids in doubts.items()
    ]
    if any(filled.values()):
        account.notes.append(f"from DICOM headers: age of {filled['age']:,} images, sex of {filled['sex']:,}")


def _or_unknown(word: str) -> str:
    return "unknown" if is_missing(word) else word


def _roles(
    source: Source, kept: Sequence[int], ids: Sequence[str], paths: Sequence[str | None], account: Account
) -> dict[str, str]:
    """The roles that the source gives, by image id, and what to do with them."""
    if source.roles is not None:
        given, by = [source.roles[row] for row in kept], "the table gives"
    else:
        folders = [source.found.relative(path).split("/")[:-1] if path else [] for path in paths]
        given, by = [role_of_folders(names) for names in folders], "the folders give"
        if unused := unused_folders(name for names in folders for name in names):
            account.notes.append(
                f"roles: the folders {', '.join(unused[:5])} may be folds; they are not used, and images"
                " of all of"
                " them are split anew"
            )
    counts = Counter(role for role in given if role)
    if len(counts) < 2:
        return {}
    named = ", ".join(
        f"{role} {counts[role]:,}" for role in ("train", "selection", "calibration", "test") if counts[role]
    )
    account.notes.append(
        f"roles: {by} {named}; `dermlens data split --protocol given` makes a manifest of them, and without "
        "one roles are "
        "drawn anew"
        + (
            f"; {without:,} images have none, and take part in nothing then"
            if (without := given.count(""))
            else ""
        )
    )
    return {image_id: role for image_id, role in zip(ids, given, strict=True) if role}


def _note(
    table: pd.DataFrame, source: Source, classes: Sequence[str], labels: Mapping[str, str], account: Account
) -> None:
    """What else of the source a person should know before it is learnt from."""
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
