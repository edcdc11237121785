"""Who an image is of: ids of images, lesions and patients, and which of them belong together."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.predict.sources.folders import image_id_of
from dermlens.predict.sources.tables import JOINT, Problems, is_formula
from dermlens.predict.sources.vocabulary import is_missing

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
    for said, row in zip(ids, where, strict=True):
        if (problem := _formula(what, said)) is not None:
            problems.add(problem, row)


def _formula(what: str, said: str) -> str | None:
    """What is wrong with an id that a spreadsheet would run: ids go into tables of answers."""
    if not is_formula(said):
        return None
    return (
        f"{what} id '{said}' begins as a formula does, which a spreadsheet would run in tables of answers; "
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
    """Lesion ids; the image's where there is none, and joined with the patient's where patients share
    them.
    """
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
