"""What a row speaks of: ids that can be ids, the source, and the image's file."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.errors import UserError
from dermlens.predict.pictures.dicom import colour_doubt, dicom_patient
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.sources.folders import Survey, image_id_of, may_be_dicom
from dermlens.predict.sources.tables import JOINT, NAMES, Problems, is_formula, is_unfit
from dermlens.predict.sources.vocabulary import is_missing, plain


def check_twice(image_ids: Sequence[str], where: Sequence[str], problems: Problems) -> None:
    """Note images that have two rows."""
    first: dict[str, str] = {}
    for image_id, row in zip(image_ids, where, strict=True):
        if image_id and image_id in first:
            problems.add(f"image {image_id} stands already in {first[image_id]}; an image has one row", row)
        first.setdefault(image_id, row)


def checked_ids(rows: pd.DataFrame, problems: Problems) -> list[str]:
    """What the source calls its images; empty where that can be no name, which is a problem.

    Ids go into CSV files line by line, and an image's names files besides.
    """
    checked = []
    for image_id, lesion_id, row in zip(rows["image_id"], rows["lesion_id"], rows["where"], strict=True):
        if is_unfit(lesion_id):
            problems.add(f"lesion id {lesion_id!r} holds a control character or a line break", row)
        problem = None
        if not image_id:
            problem = "no image id; every row names one image"
        elif is_unfit(image_id):
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


def complete_from_headers(table: pd.DataFrame, account: Account) -> None:
    """Fill ages and sexes that the table does not give from DICOM headers, as prediction does."""
    filled = {"age": 0, "sex": 0}
    ages, sexes = table["age"].tolist(), table["sex"].tolist()
    doubts: dict[str, list[str]] = {}
    for row, path in enumerate(table["path"]):
        lacks = math.isnan(ages[row]), sexes[row] == "unknown"
        if not may_be_dicom(path):
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
