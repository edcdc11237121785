"""Which column holds what, by its cells: said to the user as an option, never acted upon."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NoReturn

from dermlens.data.column_names import JOINT, NEEDED, check_map, is_telling, theirs
from dermlens.data.diagnosis_names import class_of
from dermlens.data.problems import option
from dermlens.data.readers.sheet import Sheet
from dermlens.data.readers.survey import Survey, image_id_of
from dermlens.data.vocabulary import age_of, is_missing, plain, sexes_of, site_of
from dermlens.errors import UserError

ENOUGH = 0.5
"""Share of a column's cells that must be understood for it to be named."""
AGE_NAMES = {
    "age",
    "alter",
    "edad",
    "eta",
    "idade",
    "leeftijd",
    "alder",
    "ans",
    "jahre",
    "lebensalter",
    "wiek",
}


def refuse_columns(
    sheet: Sheet,
    found: Survey,
    columns: Mapping[str, str] | None,
    classes: Collection[str],
    labels: Mapping[str, str],
) -> NoReturn:
    """Say which columns a table lacks, and which of its own could be meant.

    Raises:
        UserError: always.
    """
    check_map(columns)
    for named in (columns or {}).values():
        for part in [named] if named in sheet.header else named.split(JOINT):
            sheet.column(part.strip())  # which says that there is none
    if image_id_of(sheet.header[0]) in found.images:
        raise UserError(
            f"{sheet.path} names no columns: its first row is of image {sheet.header[0]}; put a row with "
            "image_id, dx and so on above it"
        )
    lacking = [ours for ours in NEEDED if theirs(sheet.header, ours, columns) is None]
    guessed = guess_columns(sheet, found, classes, labels)
    options = [option("--column", ours, name) for ours, name in guessed.items()]
    if "dx" in guessed:
        words = dict.fromkeys(cell for cell in sheet.column(guessed["dx"]) if not is_missing(cell))
        unknown = [word for word in words if word not in labels and class_of(word, classes) is None]
        options += [option("--label", word, "CLASS") for word in unknown[:5]]
    unsure = [ours for ours in lacking if ours not in guessed]
    options += [f"--column {ours}=…" for ours in unsure]
    raise UserError(
        f"{sheet.path} has no column for {' and '.join(lacking)}; it has {', '.join(sheet.header)}: say "
        "which one "
        f"holds it with a column map; perhaps {' '.join(options)}"
    )


def guess_columns(
    sheet: Sheet,
    found: Survey,
    classes: Collection[str],
    labels: Mapping[str, str],
    taken: Collection[str] = (),
) -> dict[str, str]:
    """Columns whose cells are what ours hold, by ours; those that a table is read by already are left out.

    Args:
        sheet: the table.
        found: the images.
        classes: the classes.
        labels: class by the source's diagnosis.
        taken: columns that are read already.
    """
    tests: dict[str, Callable[[str], bool]] = {
        "image_id": lambda cell: image_id_of(cell) in found.images,
        "dx": lambda cell: cell in labels or class_of(cell, classes) is not None,
        "sex": lambda cell: sexes_of([cell])[cell] not in (None, "unknown"),
        "site": lambda cell: site_of(cell) not in (None, "unknown"),
    }
    free = [name for name in sheet.header if name and name not in taken]
    guessed: dict[str, str] = {}
    for ours, test in tests.items():
        if theirs(sheet.header, ours) is not None:
            continue
        shares = {
            name: _share(sheet.column(name), test) for name in free if ours == "dx" or not is_telling(name)
        }
        best = max(shares, key=lambda name: shares[name], default="")
        if best and shares[best] >= ENOUGH:
            guessed[ours] = best
            free.remove(best)
    if theirs(sheet.header, "age") is None:
        aged = (name for name in free if plain(name).split(" ")[0] in AGE_NAMES)
        if name := next((name for name in aged if _share(sheet.column(name), _is_age) >= ENOUGH), None):
            guessed["age"] = name
    return guessed


def _is_age(cell: str) -> bool:
    age = age_of(cell)
    return age is not None and 0 <= age <= 120


def _share(cells: Sequence[str], test: Callable[[str], bool]) -> float:
    """The share of the cells that say something and pass."""
    said = [cell for cell in cells if not is_missing(cell)]
    results = {cell: test(cell) for cell in set(said)}
    return sum(results[cell] for cell in said) / len(said) if said else 0.0
