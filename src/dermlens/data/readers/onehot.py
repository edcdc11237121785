"""Ground truth as one-hot columns: the ISIC challenges' and MILK10k's, and that of any list of classes."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dermlens.data.readers.diagnoses import is_diagnosis
from dermlens.predict.sources.sheets import Sheet
from dermlens.predict.sources.tables import is_answers, theirs
from dermlens.predict.sources.vocabulary import is_missing, plain

ISIC_2017 = {"melanoma", "seborrheic_keratosis"}
"""Its third class, nevus, has no column: it is where both are 0."""
YES = frozenset({"true", "t", "yes", "y", "x", "ja", "j", "oui", "o", "si", "s", "sim", "evet"})
NO = frozenset({"", "false", "f", "no", "n", "nein", "non", "nao", "hayir"})


def hot(cell: str) -> bool | None:
    """Whether a cell of a one-hot column is 1, in digits or in a word; None where it is neither 1 nor 0."""
    said = plain(cell)
    if said in YES or said in NO:
        return said in YES
    try:
        number = float(cell.replace(",", "."))
    except ValueError:
        return False if is_missing(cell) else None
    return bool(number) if number in (0, 1) else None


def unknown_hot(sheet: Sheet, codes: Collection[str] = ()) -> list[str]:
    """Columns of a one-hot truth that are named after no diagnosis: 1 where no other is, else 0.

    Args:
        sheet: the table.
        codes: its columns that are diagnoses; where there are none, all rows must have their 1 in what is
            found.
    """
    cells = {name: [hot(cell) for cell in sheet.column(name)] for name in sheet.header if name}
    known = [cells[code] for code in codes]
    taken = [any(row) for row in zip(*known, strict=True)] if known else [False] * len(sheet.rows)
    found = []
    for name, column in cells.items():
        if (
            name in codes
            or None in column
            or not any(column)
            or any(map(lambda one, two: one and two, column, taken))
        ):
            continue
        found.append(name)
        taken = [bool(one or two) for one, two in zip(taken, column, strict=True)]
    return found if all(taken) and (codes or len(found) > 1) else []


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
