"""Ground truth as one-hot columns: the ISIC challenges' and MILK10k's, and that of any list of classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pandas as pd

from dermlens.data.account import Account
from dermlens.data.column_names import NAMES, NEEDED, is_answers, theirs
from dermlens.data.diagnosis_names import is_diagnosis
from dermlens.data.problems import Problems
from dermlens.data.readers.columns import DX_FURTHER, read_columns
from dermlens.data.readers.sheet import Sheet
from dermlens.data.readers.survey import image_id_of, normal, split_name
from dermlens.data.vocabulary import plain

ISIC_2017 = {"melanoma", "seborrheic_keratosis"}
"""Its third class, nevus, has no column: it is where both are 0."""
ZERO, ONE = ("0", "0.0", ""), ("1", "1.0")


def hot_columns(header: Sequence[str], classes: Collection[str] = ()) -> list[str]:
    """The columns of a one-hot truth: those named after a diagnosis or one of the classes."""
    wanted = {plain(code) for code in classes}
    return [name for name in header if plain(name) in wanted or is_diagnosis(name)]


def is_onehot(header: Sequence[str], classes: Collection[str] = ()) -> bool:
    """Whether a file with this header can be read here."""
    keyed = theirs(header, "image_id") or theirs(header, "lesion_id")
    return (
        keyed is not None
        and theirs(header, "dx") is None
        and not is_answers(header)
        and len(hot_columns(header, classes)) >= 2
    )


def is_companion(header: Sequence[str], classes: Collection[str] = ()) -> bool:
    """Whether a file says more of the same images: LesionGroupings, ISIC 2019's Metadata, HAM10000's form."""
    return (
        theirs(header, "image_id") is not None
        and not is_onehot(header, classes)
        and not is_answers(header)
        and any(theirs(header, ours) for ours in NAMES if ours not in NEEDED)
    )


def read_onehot(
    truth: Sheet, companions: Sequence[Sheet], classes: Collection[str], account: Account, problems: Problems
) -> pd.DataFrame:
    """Turn one-hot columns into diagnoses and join what companions say of the same images.

    Args:
        truth: images and a column a class, 1 in one of them and 0 in the others. MILK10k's names lesions:
            their
            images are those that a companion gives to them.
        companions: tables with the same images and any of the other columns; their diagnoses are not read.
        classes: names of columns that are classes, beside those of diagnoses.
        account: takes what was read.
        problems: takes rows that have not exactly one 1.

    Returns:
        The frame that `read_columns` gives, with diagnoses as the source's column names (`MEL`).
    """
    codes = hot_columns(truth.header, classes)
    dx = _hot(truth, codes, problems)
    key = theirs(truth.header, "image_id")
    own = {ours: name for ours in NAMES if ours != "dx" and (name := theirs(truth.header, ours))}
    frame = pd.DataFrame({"dx": dx, "where": truth.where()})
    for ours, name in own.items():
        frame[ours] = truth.column(name)
    if key is None:
        frame = _by_lesion(frame, companions)
    account.columns |= {name: ours for ours, name in own.items() if name != ours}
    account.unread += [name for name in truth.header if name not in (*codes, *own.values())]
    return join_companions(frame, companions, account)


def join_companions(frame: pd.DataFrame, companions: Sequence[Sheet], account: Account) -> pd.DataFrame:
    """Fill columns that a frame lacks from tables of the same images.

    Args:
        frame: with `image_id`, `dx` and `where`, and any of the other columns.
        companions: the tables; of two that say the same the later counts.
        account: takes what was joined.
    """
    frame = frame.copy()
    frame[DX_FURTHER] = [()] * len(frame)
    read = {}
    for sheet in companions:
        of_sheet = Account(sheet.path)
        # A companion's diagnosis is not read: any of its columns stands in for the one that it need not have.
        read[sheet.path] = read_columns(sheet, {"dx": sheet.header[0]}, of_sheet)
        account.telling += [name for name in of_sheet.telling if name not in account.telling]
        account.unread += [name for name in of_sheet.unread if name not in account.unread]
    for ours in NAMES:
        if ours in frame:
            continue
        said: dict[str, str] = {}
        for path, rows in read.items():
            if any(rows[ours]):
                said.update(zip(map(_key, rows["image_id"]), rows[ours], strict=True))
                if path not in account.joined:
                    account.joined.append(path)
        frame[ours] = [said.get(_key(cell), said.get(image_id_of(cell), "")) for cell in frame["image_id"]]
    return frame


def _key(cell: str) -> str:
    return split_name(normal(cell))[0]


def _hot(truth: Sheet, codes: Sequence[str], problems: Problems) -> list[str]:
    """The column that is 1, row by row."""
    at: Mapping[str, int] = {code: truth.header.index(code) for code in codes}
    none = "nevus" if {plain(code).replace(" ", "_") for code in codes} == ISIC_2017 else None
    dx = []
    for row, place in zip(truth.rows, truth.where(), strict=True):
        hot = [code for code, i in at.items() if row[i] not in ZERO]
        if not hot and none is not None:
            hot = [none]
        elif len(hot) != 1 or row[at[hot[0]]] not in ONE:
            problems.add(f"exactly one of {', '.join(codes)} must be 1, the others 0", place)
            hot = [""]
        dx.append(hot[0])
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
