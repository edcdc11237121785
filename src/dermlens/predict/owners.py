"""Whose picture a row is: the patient and the lesion of each image, for training and for prediction.

A table says it, or else folders, DICOM headers and names of files do. Clinics count the lesions of each
patient from one, so lesions of one name are two where their patients are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dermlens.predict.pictures.dicom import dicom_person
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.sources.folders import image_id_of, may_be_dicom
from dermlens.predict.sources.vocabulary import is_missing

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
NUMBER = re.compile(r"(\d+)\.0+")
"""A whole number as a column of numbers has it where some of its cells are empty."""


def whole_ids(ids: Sequence[str]) -> list[str]:
    """Ids without the `.0` that a column of numbers gets where some of its cells are empty."""
    return [found[1] if (found := NUMBER.fullmatch(cell)) else cell for cell in ids]


def patients_of(
    named: Sequence[str],
    folders: Sequence[Sequence[str]],
    paths: Sequence[str | None],
    image_ids: Sequence[str],
    notes: list[str],
) -> list[str | None]:
    """The patient of each image: as the table names them, or else by folders, DICOM headers or file names.

    Args:
        named: of the table; a word for a missing value, or nothing, where it does not say.
        folders: that the image lies in, the nearest last.
        paths: of its file; none where it is not there.
        image_ids: of each image.
        notes: takes what the patients were told by, where that is no table.

    Returns:
        A patient an image; none where nobody knows.
    """
    patients = one_spelling("patient_id", [None if is_missing(word) else word for word in named], notes)
    if not any(patients):
        patients = _patients_of_folders(folders, notes)
    if not any(patients):
        patients = _patients_of_headers(paths, notes)
    if not any(patients):
        patients = _patients_of_names(image_ids, notes)
    return patients


def _patients_of_folders(folders: Sequence[Sequence[str]], notes: list[str]) -> list[str | None]:
    """The patient of each image by its folder, `patient_12/`, where most lie in such a one."""
    found = [next((name for name in reversed(names) if PATIENT.fullmatch(name)), None) for names in folders]
    named = sum(name is not None for name in found)
    if not named or named < len(found) / 2:
        return [None] * len(found)
    first = next(filter(None, found))
    notes.append(f"patients: by the folders that the images lie in, such as {first}")
    return found


def _patients_of_names(ids: Sequence[str], notes: list[str]) -> list[str | None]:
    """The patient of each image by its file's name, where all names begin with one and some share theirs."""
    found = [BEGINS_AS_PATIENT.fullmatch(image_id_of(one)) for one in ids]
    patients = [one[1] for one in found if one is not None]
    if len(patients) < len(ids) or len({*patients}) == len(patients):
        return [None] * len(ids)
    notes.append(f"patients: by the beginnings of file names, such as {patients[0]}")
    return [*patients]


def _patients_of_headers(paths: Sequence[str | None], notes: list[str]) -> list[str | None]:
    """The patient of each image by its DICOM header, where headers tell several apart."""
    found: list[str | None] = []
    for path in paths:
        person = None
        if path is not None and may_be_dicom(path):
            with suppress(ImageError, OSError):  # whoever reads its pixels says so
                person = dicom_person(path, Path(path).read_bytes())
        found.append(person)
    common = Counter(filter(None, found)).most_common()
    if not common:
        return found
    if len(common) < 2 or common[0][1] > len(found) / 2:  # what makes headers anonymous
        notes.append(
            f"patients: DICOM headers give {common[0][1]:,} of {len(found):,} images one PatientID, which is"
            " not used"
        )
        return [None] * len(found)
    notes.append(f"patients: by PatientID of {sum(count for _, count in common):,} DICOM headers")
    return found


def one_spelling(what: str, ids: Sequence[str | None], notes: list[str]) -> list[str | None]:
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
        notes.append(
            f"{what}: {len(others):,} spellings differ from another one in case or spaces alone, and count as"
            " it"
        )
    return found


def lesions_of(
    lesion_ids: Sequence[str], patients: Sequence[str | None], notes: list[str], *, joint: bool = False
) -> list[str]:
    """The lesion of each image, joined with its patient where patients share one.

    Args:
        lesion_ids: as the table has them.
        patients: as `patients_of` gives them.
        notes: takes what was read as something else.
        joint: whether they are joined with their patients already.

    Returns:
        A lesion an image; empty where none is known.
    """
    named = ["" if is_missing(lesion) else lesion for lesion in lesion_ids]
    known = [one or "" for one in one_spelling("lesion_id", named, notes)]
    of_lesion: dict[str, set[str]] = {}
    for lesion, patient in zip(known, patients, strict=True):
        if lesion and patient is not None:
            of_lesion.setdefault(lesion, set()).add(patient)
    shared = sum(len(owners) > 1 for owners in of_lesion.values())
    if not shared or joint:
        return known
    notes.append(
        f"lesion_id: ids that several patients share: {shared:,}, so lesions are read as patient_id+lesion_id"
    )
    return [
        f"{patient}_{lesion}" if lesion and patient is not None else lesion
        for lesion, patient in zip(known, patients, strict=True)
    ]
