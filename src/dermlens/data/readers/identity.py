"""Who and what a row speaks of: ids of images, lesions and patients, the source, and the image's file."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.errors import UserError
from dermlens.predict.pictures.dicom import colour_doubt, dicom_patient, dicom_person
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.sources.folders import Survey, begins_as_dicom, image_id_of, split_name
from dermlens.predict.sources.tables import JOINT, NAMES, Problems, is_formula
from dermlens.predict.sources.vocabulary import is_missing, plain

UNFIT = ("Cc", "Zl", "Zp")
"""Unicode's categories of characters that no id may hold: controls, and ends of lines."""
PATIENT = re.compile(
    r"(?:patient|patientin|pat|pt|paciente|paziente|proband|subject|subj|sub|hasta|person|case|fall)"
    r"[ _.-]*[a-z]{0,3}\d+"
    r"|(?:patient|patientin|paciente|paziente|subject|hasta|person)[ _.-]+\w+|p[ _-]?\d+|IP_\d+",
    re.IGNORECASE,
)
"""Names of folders that hold the images of one patient."""
BEGINS_AS_PATIENT = re.compile(
    r"((?:patient|patientin|paciente|paziente|proband|subject|hasta|person|pat|pt|subj|sub|ip)[ _-]?\d+"
    r"|p\d{2,})[ _-].*",
    re.IGNORECASE,
)
"""Names of files that begin with a patient, as PAD-UFES-20's PAT_46_881_939."""


def check_twice(image_ids: Sequence[str], where: Sequence[str], problems: Problems) -> None:
    """Note images that have two rows."""
    first: dict[str, str] = {}
    for image_id, row in zip(image_ids, where, strict=True):
        if image_id and image_id in first:
            problems.add(f"image {image_id} stands already in {first[image_id]}; an image has one row", row)
        first.setdefault(image_id, row)


def _is_unfit(text: str) -> bool:
    return not text.isprintable() and any(unicodedata.category(character) in UNFIT for character in text)


def checked_ids(rows: pd.DataFrame, problems: Problems) -> list[str]:
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


def check_formulas(what: str, ids: Sequence[str], where: Sequence[str], problems: Problems) -> None:
    """Note ids that a spreadsheet would run."""
    for value, row in zip(ids, where, strict=True):
        if (problem := _formula(what, value)) is not None:
            problems.add(problem, row)


def _formula(what: str, value: str) -> str | None:
    """What is wrong with an id that a spreadsheet would run: ids go into tables of answers."""
    if not is_formula(value):
        return None
    return (
        f"{what} id '{value}' begins as a formula does, which a spreadsheet would run in tables of answers; "
        "begin it with a letter or a digit"
    )


def patients_of_folders(folders: Sequence[Sequence[str]], account: Account) -> list[str | None]:
    """The patient of each image by its folder, `patient_12/`, where most lie in such a one."""
    found = [next((name for name in reversed(names) if PATIENT.fullmatch(name)), None) for names in folders]
    named = sum(name is not None for name in found)
    if not named or named < len(found) / 2:
        return [None] * len(found)
    first = next(filter(None, found))
    account.notes.append(f"patients: by the folders that the images lie in, such as {first}")
    return found


def patients_of_names(ids: Sequence[str], account: Account) -> list[str | None]:
    """The patient of each image by its file's name, where all names begin with one and some share theirs."""
    found = [BEGINS_AS_PATIENT.fullmatch(image_id_of(one)) for one in ids]
    patients = [one[1] for one in found if one is not None]
    if len(patients) < len(ids) or len({*patients}) == len(patients):
        return [None] * len(ids)
    account.notes.append(f"patients: by the beginnings of file names, such as {patients[0]}")
    return [*patients]


def one_spelling(what: str, ids: Sequence[str | None], account: Account) -> list[str | None]:
    """Ids that differ in case and spaces alone as one id, the first spelling of it."""
    first: dict[str, str] = {}
    found: list[str | None] = []
    others = set()
    for one in ids:
        kept = one and first.setdefault(" ".join(one.casefold().split()), one)
        found.append(kept)
        if kept != one:
            others.add(one)
    if others:
        account.notes.append(
            f"{what}: {len(others):,} spellings differ from another one in case or spaces alone, and count as"
            " it"
        )
    return found


def lesions_of(
    lesion_ids: Sequence[str | None],
    patients: list[str | None],
    image_ids: list[str],
    account: Account,
    columns: Mapping[str, str],
) -> list[str]:
    """Lesion ids; the image's where there is none, and joined with the patient's where patients share one."""
    named = ["" if is_missing(lesion) else lesion for lesion in lesion_ids]
    known = [one or "" for one in one_spelling("lesion_id", named, account)]
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


# Which data set or clinic an image comes from: its source, which is for splits and audit alone.


INPUTS = ("age", "sex", "site")
AUDITED = ("dx", "dx_type", "source", "skin_tone")
"""Columns that give the diagnosis away, or the clinic, whose class shares nearly do; and the skin tone, by
which answers are compared."""


def refuse_audited_inputs(columns: Mapping[str, str] | None) -> None:
    """Keep a column map from leading what is for audit only into the network.

    Raises:
        UserError: age, sex or site is mapped to a column of the diagnosis, its confirmation, the source or
            the skin tone.
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


def or_folder(values: pd.Series, folder: Path) -> list[str]:
    """The source that the data name for each image, or the name of their folder.

    Args:
        values: text, empty where the data do not say.
        folder: the data folder, or the table itself.
    """
    place = folder.parent if folder.is_file() else folder
    name = os.path.basename(os.path.abspath(place)) or "unknown"  # noqa: PTH100, PTH119 - links stay as laid
    return [name if is_missing(word) else word for word in values]


# The files of a table's images: where they lie, and what their DICOM headers say of the patient.


def paths_of(
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


def patients_of_headers(paths: Sequence[str | None], account: Account) -> list[str | None]:
    """The patient of each image by its DICOM header, where headers tell several apart."""
    found: list[str | None] = []
    for path in paths:
        person = None
        if path is not None and _may_be_dicom(path):
            with suppress(ImageError, OSError):  # whoever reads its pixels says so
                person = dicom_person(path, Path(path).read_bytes())
        found.append(person)
    common = Counter(filter(None, found)).most_common()
    if not common:
        return found
    if len(common) < 2 or common[0][1] > len(found) / 2:  # what makes headers anonymous
        account.notes.append(
            f"patients: DICOM headers give {common[0][1]:,} of {len(found):,} images one PatientID, which is"
            " not used"
        )
        return [None] * len(found)
    account.notes.append(f"patients: by PatientID of {sum(count for _, count in common):,} DICOM headers")
    return found


def complete_from_headers(table: pd.DataFrame, account: Account) -> None:
    """Fill ages and sexes that the table does not give from DICOM headers, as prediction does."""
    filled = {"age": 0, "sex": 0}
    ages, sexes = table["age"].tolist(), table["sex"].tolist()
    doubts: dict[str, list[str]] = {}
    for row, path in enumerate(table["path"]):
        lacks = math.isnan(ages[row]), sexes[row] == "unknown"
        if not _may_be_dicom(path):
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


def _may_be_dicom(path: str) -> bool:
    return split_name(path)[1] in ("", ".dcm", ".dicom") and begins_as_dicom(Path(path))
