"""What a person asks: which images, and what is known of their patients. Free of pandas."""

from __future__ import annotations

import math
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dermlens.errors import UserError, nearest
from dermlens.predict.owners import lesions_of, patients_of, whole_ids
from dermlens.predict.pictures.dicom import colour_doubt
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.sources.folders import (
    MAP_ENDING,
    MASK_ENDING,
    MASK_FOLDERS,
    PICTURE_SUFFIXES,
    file_ids,
    image_id_of,
    may_be_dicom,
    normal,
    split_name,
    survey,
)
from dermlens.predict.sources.sheets import Sheet, read_sheet
from dermlens.predict.sources.tables import JOINT, Problems, check_map, further, is_unfit, parts, theirs
from dermlens.predict.sources.values import FIELDS, ValueMap, Values
from dermlens.predict.sources.vocabulary import (
    OLDEST,
    age_of,
    is_missing,
    is_no_sex_of_ours,
    known_sites,
    plain,
    sexes_of,
    site_of,
)

IDS = ("image_id", "lesion_id", "patient_id")


@dataclass(frozen=True, slots=True)
class Patient:
    """What is known of the patient of an image; all of it may be missing.

    Attributes:
        age: years.
        sex: female, male or unknown.
        site: a word of `dermlens.predict.sources.vocabulary`.
    """

    age: float | None = None
    sex: str = "unknown"
    site: str = "unknown"


@dataclass(frozen=True, slots=True)
class Found:
    """The images of a request.

    Attributes:
        images: path by image id, in the order named. The id is the file's name without its suffix or, where
            several files share that, its path below the folder that holds them all: `patient_a/IMG_0001`.
        unreadable: the sentence for each file whose name no table can hold, by that name's escaped form.
        doubts: what was left out.
    """

    images: dict[str, Path] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


def find_images(named: Sequence[Path]) -> Found:
    """The images that files and folders name, folders with all below them but lesion masks.

    Images are recognised by their suffixes, DICOM objects without one by how they begin.

    Args:
        named: files and folders. A file that is not there is found out when it is read.

    Raises:
        UserError: a folder has no image, or two files have one id.
    """
    found = Found()
    files: dict[str, Path] = {}
    for path in named:
        for file in _below(path, found.doubts) if path.is_dir() else [path]:
            files.setdefault(os.path.abspath(file), file)  # noqa: PTH100  # links stay as the user laid them
    for image_id, file in zip(file_ids(list(files), _common(files)), files.values(), strict=True):
        if not image_id.isprintable():
            found.unreadable[repr(image_id)] = (
                f"the file name {file.name!r} holds characters that cannot be printed; rename it"
            )
        elif image_id in found.images:
            raise UserError(
                f"{found.images[image_id]} and {file} are both image {image_id}; answers are distinguished"
                " by that name, so each needs its own"
            )
        else:
            found.images[image_id] = file
    found.doubts.extend(_colour_doubts(found.images))
    return found


def _colour_doubts(images: Mapping[str, Path]) -> list[str]:
    """In what ways DICOM headers contradict their frames."""
    doubts: dict[str, list[str]] = defaultdict(list)
    for image_id, file in images.items():
        with suppress(ImageError, OSError, UserError):  # whoever reads its pixels says so
            if may_be_dicom(str(file)) and (doubt := colour_doubt(file)) is not None:
                doubts[doubt].append(image_id)
    return [f"{doubt}: {len(ids)} images, {ids[0]} first" for doubt, ids in doubts.items()]


def _common(files: Mapping[str, Path]) -> str:
    """The folder that holds all files."""
    return os.path.commonpath([os.path.dirname(file) for file in files]) if files else ""  # noqa: PTH120


def _below(folder: Path, doubts: list[str]) -> list[Path]:
    listed = survey(folder, depth=None)
    listed.take_dicom()
    images = [Path(file) for files in listed.images.values() for file in files]
    masks = [mask for masks in listed.masks.values() for mask in masks]
    endings, folders = f"{MASK_ENDING} or {MAP_ENDING}", " or ".join(MASK_FOLDERS)
    masks_are = f"lesion masks ({endings} ends the name, or the folder is {folders})"
    if listed.left_out:
        doubts.append(listed.left_out)
    if not images:
        but = f", only {masks_are}" if masks else ""
        raise UserError(
            f"folder {folder} holds no images (JPEG, PNG, TIFF, BMP or DICOM){but}{listed.not_followed}"
        )
    if masks:
        doubts.append(f"left out: {len(masks)} {masks_are}, {masks[0]} first")
    if others := [path for path in listed.others if path.lower().endswith(PICTURE_SUFFIXES)]:
        doubts.append(
            f"left out, in formats that are not read: {len(others)}, {others[0]} first; save a picture as"
            " JPEG or PNG"
        )
    return images


def one_patient(age: Any = None, sex: Any = None, site: Any = None, *, option: str = "--") -> Patient:
    """A patient as a person or a program says it.

    Args:
        age: years, 0 to 120: a word, or a number of any library. None, NaN, pandas' NA, and what tables write
            for a missing value are missing, here and in the other two.
        sex: female or male, in a word or an initial.
        site: in a word that the vocabulary has, in any of its languages.
        option: what stands before the name of the argument in an error.

    Raises:
        UserError: an age is out of range, or a word is not understood.
    """
    age, sex, site = ("" if value is None else str(value).strip() for value in (age, sex, site))
    place = site_of(site)
    if place is None:
        raise UserError(f"{option}site '{site}' is not known{nearest(plain(site), known_sites())}")
    found = sexes_of([sex])[sex]
    if found is None or is_no_sex_of_ours(sex):
        raise UserError(f"{option}{_no_sex(sex)}")
    years = age_of(age)
    if (problem := _no_age(age, years)) is not None:
        raise UserError(f"{option}{problem}")
    return Patient(None if years is None or math.isnan(years) else years, found, place)


@dataclass(frozen=True)
class Patients:
    """What a table says of the patients of images.

    Attributes:
        of_image: by image id, those that have a row.
        lesion_of: the lesion of each image that has a row; empty where the table does not name lesions.
        doubts: what was read with a doubt: words that count as missing, images without a row, columns that
            are
            not read.
    """

    of_image: dict[str, Patient]
    doubts: list[str]
    lesion_of: dict[str, str] = field(default_factory=dict)


def read_patients(
    path: Path,
    images: Mapping[str, Path],
    own_columns: Mapping[str, str] | None = None,
    values: ValueMap | None = None,
) -> Patients:
    """Read a table of patients, a row an image.

    Args:
        path: a table with images and any of lesion_id, age, sex and site, under the names that HAM10000, ISIC
            or others give them; empty cells are missing values, and an image without a lesion is one
            by itself. Patients tell lesions of one name apart.
        images: the images that are answered for, by id.
        own_columns: the table's column by ours, where it has names of its own: `{"image_id": "Datei"}`.
        values: the table's words of age, sex and site by ours: `{"sex.male": "h"}`.

    Raises:
        UserError: no such file, no table, no column of images or of patients, an image twice, a name that
            several images have, cells that are not understood, an image by itself whose id is a lesion of
            others, or a row for none of the images.
    """
    check_map(own_columns)
    sheet = read_sheet(path)
    columns = {ours: name for ours in (*IDS, *FIELDS) if (name := theirs(sheet.header, ours, own_columns))}
    if "lesion_id" not in columns:
        columns.pop("patient_id", None)
    if "image_id" not in columns:
        raise UserError(
            f"{path} has no column 'image_id' that names the images; it has {', '.join(sheet.header)}"
        )
    if len(columns) == 1:
        raise UserError(
            f"{path} has none of the columns lesion_id, age, sex and site; it has {', '.join(sheet.header)}"
        )
    problems, doubts = Problems(), list[str]()
    if sheet.encoding:
        doubts.append(f"{path}: {sheet.encoding}")
    sites = further(sheet.header, columns.get("site"))
    read = {part for name in columns.values() for part in parts(sheet.header, name)} | {*sites}
    unread = [name for name in sheet.header if name not in read]
    if unread:
        doubts.append(
            f"{path}: columns that are not read: {', '.join(name or '(no name)' for name in unread)}"
        )
    rows = _rows_of_images(sheet, columns["image_id"], images, problems)
    patient_of = _patients(sheet, columns, values, problems, doubts)
    lesion_of = _lesions(sheet, columns, rows, images, problems, doubts) if "lesion_id" in columns else {}
    problems.refuse()
    patients = {image_id: patient_of[row] for image_id, row in rows.items()}
    return Patients(patients, [*doubts, *_without_row(images, patients, path)], lesion_of)


def _lesions(
    sheet: Sheet,
    columns: Mapping[str, str],
    rows: Mapping[str, int],
    images: Mapping[str, Path],
    problems: Problems,
    doubts: list[str],
) -> dict[str, str]:
    """The lesion of each image that has a row; one that the table gives no lesion is one by itself."""
    paths = [os.path.abspath(images[image_id]) for image_id in rows]  # noqa: PTH100  # links stay
    above = _common(dict.fromkeys(paths, Path()))
    folders = [normal(os.path.relpath(path, above)).split("/")[:-1] for path in paths]
    people, lesions = (
        [cells[row] for row in rows.values()]
        if (cells := _cells(sheet, columns.get(ours)))
        else [""] * len(rows)
        for ours in ("patient_id", "lesion_id")
    )
    by, notes = list[str](), list[str]()
    patients = patients_of(people, folders, paths, list(rows), by)
    named = lesions_of(lesions, patients, notes, joint=JOINT in columns["lesion_id"])
    doubts += [f"{sheet.path}: {note}" for note in (*by, *notes)] if notes else []
    where = dict(zip(rows, (sheet.where()[row] for row in rows.values()), strict=True))
    lesion_of, names = dict(zip(rows, named, strict=True)), {*named}
    for image_id, lesion in lesion_of.items():
        if is_unfit(lesion):
            problems.add(f"lesion id {lesion!r} holds a control character or a line break", where[image_id])
    for image_id in images:
        if not lesion_of.get(image_id) and image_id in names:
            problems.add(
                f"image {image_id} has no lesion, and other images are of a lesion of that name: give it a"
                " lesion_id",
                where.get(image_id, str(sheet.path)),
            )
    return {image_id: lesion or image_id for image_id, lesion in lesion_of.items()}


def _cells(sheet: Sheet, name: str | None, joint: str = "_") -> list[str]:
    """The ids in a column, or in several that are joined; none where there is no column."""
    return [] if name is None else whole_ids(sheet.joined(parts(sheet.header, name), joint))


@dataclass(frozen=True, slots=True)
class Request:
    """Images to be answered for, and what is known of their patients.

    Attributes:
        images: path by image id.
        unreadable: as `Found` has it.
        folders: those that were named, in which images lie; images outside of them go by their file name.
        everyone: the patient of images without a row.
        patients: by image id.
        lesion_of: as `Patients` has it.
        doubts: what was left out, and what was read with a doubt.
    """

    images: Mapping[str, Path]
    unreadable: dict[str, str] = field(default_factory=dict)
    folders: Sequence[Path] = ()
    everyone: Patient = Patient()
    patients: dict[str, Patient] = field(default_factory=dict)
    lesion_of: dict[str, str] = field(default_factory=dict)
    doubts: Sequence[str] = ()

    def patient(self, image_id: str) -> Patient:
        """Of an image."""
        return self.patients.get(image_id, self.everyone)


def read_request(
    named: Sequence[Path],
    everyone: Patient,
    table: Path | None,
    columns: Mapping[str, str] | None = None,
    values: ValueMap | None = None,
) -> Request:
    """What files and folders are, and what a table says of their patients, if there is one.

    Args, Raises: as for `find_images` and `read_patients`.
    """
    found, said = find_images(named), Patients({}, [])
    if table is not None:
        said = read_patients(table, found.images, columns, values)
    return Request(
        found.images,
        found.unreadable,
        [one for one in named if one.is_dir()],
        everyone,
        said.of_image,
        said.lesion_of,
        [*found.doubts, *said.doubts],
    )


def _rows_of_images(
    sheet: Sheet, column: str, images: Mapping[str, Path], problems: Problems
) -> dict[str, int]:
    """The row of each image: by its path, as far as the table states it, else by its name."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for image_id, path in images.items():
        by_stem[image_id_of(path.name).casefold()].append(image_id)
    rows: dict[str, int] = {}
    seen: set[tuple[str, str]] = set()
    for row, (cell, where) in enumerate(zip(_cells(sheet, column, "/"), sheet.where(), strict=True)):
        if not cell:
            problems.add("no image id; every row names one image", where)
            continue
        name, suffix = split_name(normal(cell))
        name = "/".join(part for part in name.split("/") if part not in ("", ".", ".."))
        if (name, suffix) in seen:
            problems.add(f"image {name} stands in an earlier row; an image has one row", where)
            continue
        seen.add((name, suffix))
        files = {image_id: images[image_id] for image_id in by_stem.get(image_id_of(name).casefold(), [])}
        meant = _meant(name, suffix, files)
        if len(meant) > 1:
            problems.add(
                f"'{cell}' is the name of {len(meant)} images: {', '.join(meant[:3])}; state its folder and"
                " its suffix",
                where,
            )
        for image_id in meant[:1]:
            if image_id in rows:
                problems.add(f"image {image_id} stands in an earlier row; an image has one row", where)
            rows.setdefault(image_id, row)
    return rows


def _meant(name: str, suffix: str, files: Mapping[str, Path]) -> list[str]:
    """The images that a table's name can mean, with the folders it states: in its case, or else in any."""
    of_suffix = {image_id: path for image_id, path in files.items() if path.suffix.lower() == suffix}
    for fold in (str, str.casefold):
        wanted, meant = fold(name), list[str]()
        for image_id, path in (of_suffix or files).items():
            own = fold(split_name(image_id)[0])
            whole = fold(split_name(normal(os.path.abspath(path)))[0])  # noqa: PTH100  # links stay
            if wanted == own or whole.endswith(f"/{wanted}") or wanted.endswith(f"/{own}"):
                meant.append(image_id)
        if meant:
            return meant
    return []


class _Dropped:
    """Counts the words of a table that count as missing."""

    def __init__(self) -> None:
        self.words: Counter[tuple[str, str]] = Counter()

    def map(self, name: str, theirs: str, ours: str) -> None:
        """Words that are understood are not counted."""

    def drop(self, name: str, theirs: str) -> None:
        """Count a word that is not."""
        self.words[name, theirs] += 1


def _patients(
    sheet: Sheet,
    columns: Mapping[str, str],
    values: ValueMap | None,
    problems: Problems,
    doubts: list[str],
) -> list[Patient]:
    """The patient of each row."""
    empty = [""] * len(sheet.rows)
    ages, sexes, sites = (sheet.column(columns[name]) if name in columns else empty for name in FIELDS)
    for name in further(sheet.header, columns.get("site")):
        pairs = zip(sites, sheet.column(name), strict=True)
        sites = [second if is_missing(first) else first for first, second in pairs]
    dropped = _Dropped()
    words, where = Values(values, dropped, problems), sheet.where()
    found = zip(words.ages(ages, where), words.sexes(sexes, where), words.sites(sites), strict=True)
    patients = [Patient(None if math.isnan(age) else age, sex, site) for age, sex, site in found]
    doubts += [
        f"{sheet.path}: {name} '{word}' is not known and counts as missing ({count} images)"
        for (name, word), count in dropped.words.most_common()
    ]
    return patients


def _no_age(text: str, years: float | None) -> str | None:
    """Why a word is no age; None where it is one, or is missing."""
    if years is None:
        return f"age is '{text}'; ages are numbers of years, empty where unknown"
    if not math.isnan(years) and not 0 <= years <= OLDEST:
        return f"age is {text}; ages are 0 to {OLDEST} years, empty where unknown"
    return None


def _no_sex(text: str) -> str:
    return f"sex is '{text}'; it is female or male, empty where unknown"


def _without_row(images: Mapping[str, Path], patients: Mapping[str, Patient], table: Path) -> list[str]:
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
