"""Rows of text: from a table with one row an image, one-hot columns, or a folder per class."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.data.readers.diagnoses import ISIC_2017, contradict, hot, hot_columns, unknown_hot
from dermlens.data.readers.names import NO_WORD
from dermlens.errors import UserError
from dermlens.predict.owners import whole_ids
from dermlens.predict.sources.folders import Survey
from dermlens.predict.sources.sheets import Sheet
from dermlens.predict.sources.tables import (
    NAMES,
    NEEDED,
    Problems,
    check_map,
    further,
    is_answers,
    is_guessed,
    is_telling,
    parts,
    theirs,
)
from dermlens.predict.sources.vocabulary import is_missing, plain

# Tables with one row an image, under the names of `dermlens.predict.sources.tables` or a column map.


DX_FURTHER = "dx_further"
"""The name of the frame's column with what further columns say of the diagnosis, a tuple a row."""


def is_table(header: Sequence[str], columns: Mapping[str, str] | None) -> bool:
    """Whether a file with this header can be read here."""
    wanted = [theirs(header, ours, columns) for ours in NEEDED] + list(filter(None, (columns or {}).values()))
    return not is_answers(header) and all(
        name is not None and set(parts(header, name)) <= set(header) for name in wanted
    )


def read_columns(
    sheet: Sheet, columns: Mapping[str, str] | None = None, account: Account | None = None
) -> pd.DataFrame:
    """Take the columns that a LesionTable has.

    Args:
        sheet: the source's table.
        columns: the source's name of a column by ours, where it is not one of `NAMES`, such as
            `{"image_id": "Datei", "site": "Lokalisation"}`; an empty one leaves a column unread. Columns that
            only together say it are joined by a plus: `patient_id+lesion_id`; for images they make a path.
        account: takes which columns were read, which were not, and which tell the answer.

    Returns:
        A frame of text with all keys of `NAMES`, empty where the source has no such column or value;
        `dx_further`; and `where`, which names each row for error sentences.

    Raises:
        UserError: a key of `columns` is not ours, the source lacks a column, or an input of the network would
            be a column that tells the answer.
    """
    check_map(columns)
    account = account or Account(sheet.path)
    frame: dict[str, list[str]] = {}
    used: set[str] = set()
    for ours, known in NAMES.items():
        name = theirs(sheet.header, ours, columns)
        if name is None and ours in NEEDED:
            raise UserError(
                f"{sheet.path} has no column for {ours} ({', '.join(known)}); "
                f"it has {', '.join(sheet.header)}"
            )
        joint = "/" if ours == "image_id" else "_"
        frame[ours] = (
            [""] * len(sheet.rows) if name is None else sheet.joined(parts(sheet.header, name), joint)
        )
        if name is not None:
            used.update(parts(sheet.header, name))
            if name != ours:
                account.columns[name] = ours
    site = theirs(sheet.header, "site", columns)
    for name in further(sheet.header, site):
        used.add(name)
        fallback = sheet.column(name)
        frame["site"] = [
            second if is_missing(first) else first
            for first, second in zip(frame["site"], fallback, strict=True)
        ]
    dx = None if columns and "dx" in columns else theirs(sheet.header, "dx")
    frame["image_id"] = whole_ids(frame["image_id"])
    frame["lesion_id"], frame["patient_id"] = map(whole_ids, (frame["lesion_id"], frame["patient_id"]))
    levels = [sheet.column(name) for name in further(sheet.header, dx)]
    more = list(zip(*levels, strict=True)) if levels else [()] * len(sheet.rows)
    truth = {*parts(sheet.header, theirs(sheet.header, "dx", columns) or ""), *further(sheet.header, dx)}
    telling = [name for name in sheet.header if (is_telling(name) or is_guessed(name)) and name not in truth]
    for name in NAMES["dx"]:
        if name in sheet.header and name not in truth and not (columns and "dx" in columns):
            other = sum(map(contradict, frame["dx"], sheet.column(name)))
            if other:
                account.notes.append(f"dx: {name} has another diagnosis of {other:,} images; it is not read")
    account.telling += [name for name in telling if _says_something(sheet, name)]
    account.unread += [name for name in sheet.header if name and name not in {*used, *truth, *telling}]
    return pd.DataFrame({**frame, DX_FURTHER: more, "where": sheet.where()})


def _says_something(sheet: Sheet, name: str) -> bool:
    return any(not is_missing(cell) for cell in sheet.column(name))


def read_onehot(
    truth: Sheet,
    companions: Sequence[Sheet],
    classes: Collection[str],
    account: Account,
    problems: Problems,
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Turn one-hot columns into diagnoses.

    Args:
        truth: images and a column a class, 1 in one of them and 0 in the others. MILK10k's names lesions:
            their images are those that a companion gives to them.
        companions: tables that may say which images are of a lesion.
        classes: names of columns that are classes, beside those of diagnoses.
        account: takes what was read.
        problems: takes rows that have not exactly one 1.
        columns: as for `read_columns`; none of the diagnosis.

    Returns:
        A frame of `image_id`, `dx` as the source's column names (`MEL`) and `where`, and what else of `NAMES`
        the truth has.
    """
    check_map(columns)
    codes = hot_columns(truth.header, classes)
    codes += unknown_hot(truth, codes)
    dx = _hot(truth, codes, problems)
    key = theirs(truth.header, "image_id", columns)
    own = {ours: name for ours in NAMES if ours != "dx" and (name := theirs(truth.header, ours, columns))}
    frame = pd.DataFrame({"dx": dx, "where": truth.where()})
    for ours, name in own.items():
        cells = truth.joined(parts(truth.header, name), "/" if ours == "image_id" else "_")
        frame[ours] = whole_ids(cells) if ours.endswith("_id") else cells
    if key is None:
        frame = _by_lesion(frame, companions)
    account.columns |= {name: ours for ours, name in own.items() if name != ours}
    account.unread += [name for name in truth.header if name not in (*codes, *own.values())]
    return frame


def _hot(truth: Sheet, codes: Sequence[str], problems: Problems) -> list[str]:
    """The column that is 1, row by row."""
    at: Mapping[str, int] = {code: truth.header.index(code) for code in codes}
    none = "nevus" if {plain(code).replace(" ", "_") for code in codes} == ISIC_2017 else None
    dx = []
    for row, place in zip(truth.rows, truth.where(), strict=True):
        ones = [code for code, i in at.items() if hot(row[i])]
        clear = all(hot(row[i]) is not None for i in at.values())
        if clear and not ones and none is not None:
            ones = [none]
        elif not clear or len(ones) != 1:
            problems.add(f"exactly one of {', '.join(codes)} must be 1, the others 0", place)
            ones = [NO_WORD]
        dx.append(ones[0])
    return dx


def _by_lesion(frame: pd.DataFrame, companions: Sequence[Sheet]) -> pd.DataFrame:
    """A truth by lesion, as one by image: a row for each image that a companion gives to the lesion."""
    images: dict[str, list[str]] = {}
    for sheet in companions:
        lesion, image = theirs(sheet.header, "lesion_id"), theirs(sheet.header, "image_id")
        if lesion is not None and image is not None:
            for lesion_id, cell in zip(sheet.column(lesion), sheet.column(image), strict=True):
                images.setdefault(lesion_id, []).append(cell)
    found = frame.assign(image_id=frame["lesion_id"].map(lambda lesion: images.get(lesion, [])))
    return found.explode("image_id").dropna(subset="image_id").reset_index(drop=True)


# A folder per class, named after it, with its images inside or further below.


def class_names(found: Survey) -> list[str]:
    """The names of the folders that hold images, sorted."""
    return sorted(
        {found.relative(path).split("/")[-2] for path in found.paths if "/" in found.relative(path)}
    )


def read_class_folders(found: Survey, is_class: Callable[[str], bool]) -> pd.DataFrame:
    """One row an image, its diagnosis the nearest folder above it that is named after a class.

    Args:
        found: the data folder.
        is_class: whether a name is that of a class or of a diagnosis.

    Returns:
        A frame of `image_id` (the file's path below the folder), `dx` and `where`, sorted by path; where no
        folder above is a class, `dx` is the folder that the image lies in.
    """
    rows = []
    for path in found.paths:
        relative = found.relative(path)
        folders = relative.split("/")[:-1]
        dx = next((name for name in reversed(folders) if is_class(name)), folders[-1] if folders else "")
        rows.append((relative, dx, str(found.folder / relative)))
    return pd.DataFrame(rows, columns=["image_id", "dx", "where"])
