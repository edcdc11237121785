"""The files of a table's images: where they lie, and what their DICOM headers say of the patient."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.predict.pictures.dicom import colour_doubt, dicom_patient, dicom_person
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.sources.folders import Survey, begins_as_dicom, split_name
from dermlens.predict.sources.tables import Problems


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
