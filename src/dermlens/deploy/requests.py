"""What a person asks: which images, and what is known of their patients. Free of pandas."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dermlens.data.dicom import is_dicom
from dermlens.data.patients import age_of, or_unknown, sex_of
from dermlens.data.readers.sheet import read_sheet
from dermlens.data.readers.survey import MASK_ENDING, MASK_FOLDERS, image_id_of, survey
from dermlens.data.sites import group_of, known_words, plain
from dermlens.errors import UserError, nearest

COLUMNS = ("image_id", "age", "sex", "site")


@dataclass(frozen=True, slots=True)
class Patient:
    """What is known of the patient of an image; all of it may be missing.

    Attributes:
        age: years.
        sex: female, male or unknown.
        site: in HAM10000's or ISIC's words.
    """

    age: float | None = None
    sex: str = "unknown"
    site: str = "unknown"


@dataclass(frozen=True, slots=True)
class Found:
    """The images of a request.

    Attributes:
        images: path by image id, which is the file's name without its suffix; in the order named.
        unreadable: the sentence for each file whose name no table can hold, by that name's escaped form.
        doubts: what was left out.
    """

    images: dict[str, Path] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


def find_images(named: Sequence[Path]) -> Found:
    """The images that files and folders name, folders with all below them but lesion masks.

    Images are told by their suffixes, DICOM objects without one by how they begin.

    Args:
        named: files and folders. A file that is not there is found out when it is read.

    Raises:
        UserError: a folder has no image, or two files have one id.
    """
    found = Found()
    for path in named:
        for file in _below(path, found.doubts) if path.is_dir() else [path]:
            image_id = image_id_of(file.name)
            if not image_id.isprintable():
                found.unreadable[repr(image_id)] = (
                    f"the file name {file.name!r} holds characters that cannot be printed; rename it"
                )
                continue
            if image_id in found.images:
                raise UserError(
                    f"{found.images[image_id]} and {file} are both image {image_id}; answers are told apart"
                    " by the name without its suffix, so each needs its own"
                )
            found.images[image_id] = file
    return found


def _below(folder: Path, doubts: list[str]) -> list[Path]:
    listed = survey(folder, depth=None)
    images = [Path(file) for files in listed.images.values() for file in files]
    images += filter(_begins_as_dicom, map(Path, listed.others))
    masks = list(listed.masks.values())
    said = f"lesion masks ({MASK_ENDING} ends the name, or the folder is {' or '.join(MASK_FOLDERS)})"
    if not images:
        but = f", only {said}" if masks else ""
        raise UserError(f"folder {folder} holds no images (JPEG, PNG, TIFF, BMP or DICOM){but}")
    if masks:
        doubts.append(f"left out: {len(masks)} {said}, {masks[0]} first")
    return images


def _begins_as_dicom(file: Path) -> bool:
    """Whether a file without an image's suffix, as archives of images name them, is DICOM's."""
    if file.name == "DICOMDIR" or not file.is_file():  # the index of such an archive; a pipe, a device
        return False
    try:
        with file.open("rb") as opened:
            return is_dicom(opened.read(132))
    except OSError:
        return False


def one_patient(age: Any = None, sex: Any = None, site: Any = None, *, option: str = "--") -> Patient:
    """A patient as a person or a program says it.

    Args:
        age: years, 0 to 120: a word, or a number of any library. None, NaN, pandas' NA, and what tables write
            for a missing value are missing, here and in the other two.
        sex: female or male, or their initials.
        site: in HAM10000's or ISIC's words.
        option: what stands before the name of the argument in an error.

    Raises:
        UserError: an age is out of range, or a word is not understood.
    """
    age, sex, site = ("" if said is None else str(said).strip() for said in (age, sex, site))
    place = or_unknown(site)
    if place != "unknown" and group_of(place) == "unknown":
        raise UserError(f"{option}site '{site}' is not known{nearest(plain(site), known_words())}")
    return Patient(_years(age, f"{option}age"), sex_of(sex, f"{option}sex"), place)


def read_patients(path: Path) -> tuple[dict[str, Patient], list[str]]:
    """Read a table of patients, a row an image.

    Args:
        path: CSV with the columns image_id and any of age, sex, site; empty cells are missing values.

    Returns:
        The patients by image id, and what was read with a doubt: sites that no vocabulary has.

    Raises:
        UserError: no such file, not CSV, another column, an image twice, or a cell that is not understood.
    """
    sheet = read_sheet(path)
    for name in sheet.header:
        if name not in COLUMNS:
            raise UserError(
                f"{path} has the column '{name}'; the columns of a table of patients are {', '.join(COLUMNS)}"
            )
    columns = {name: sheet.column(name) for name in COLUMNS if name in sheet.header or name == "image_id"}
    empty = [""] * len(sheet.rows)
    patients: dict[str, Patient] = {}
    doubts: dict[str, int] = {}
    cells = (columns.get(name, empty) for name in COLUMNS)
    for where, named, age, sex, site in zip(sheet.where(), *cells, strict=True):
        image_id = image_id_of(named)
        if not image_id:
            raise UserError(f"{where}: no image id; every row names one image")
        if image_id in patients:
            raise UserError(f"{where}: image {image_id} stands in an earlier row; an image has one row")
        place = or_unknown(site)
        if place != "unknown" and group_of(place) == "unknown":
            doubts[place] = doubts.get(place, 0) + 1
        patients[image_id] = Patient(_years(age, where), sex_of(sex, where), place)
    return patients, [
        f"{path}: site '{site}' is not known and counts as missing ({count} images)"
        for site, count in doubts.items()
    ]


def strangers(images: Collection[str], patients: Collection[str], table: Path) -> list[str]:
    """A sentence for images without a row. Raises: UserError when not one image has a row."""
    lacking = [image_id for image_id in images if image_id not in patients]
    if not lacking:
        return []
    if len(lacking) == len(images):
        raise UserError(
            f"{table} has no row for any of the images: its image_id is the file's name without its suffix,"
            f" such as {lacking[0]}"
        )
    return [
        f"{table} has no row for {len(lacking)} of {len(images)} images, {lacking[0]} first; nothing is"
        " known of their patients"
    ]


def _years(said: str, where: str) -> float | None:
    years = age_of(said, where)
    return None if math.isnan(years) else years
