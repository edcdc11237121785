"""Diagnoses as sources spell them, to ours, and guesses at columns that the user may confirm."""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NoReturn

from dermlens.data.readers.account import Account
from dermlens.data.readers.diagnoses import (
    binary_of,
    class_of,
    hot,
    is_bare_carcinoma,
    is_diagnosis,
    is_of_ham10000,
    unknown_hot,
)
from dermlens.errors import UserError, nearest
from dermlens.labels import CLASSES
from dermlens.predict.sources.folders import Survey, image_id_of, normal
from dermlens.predict.sources.sheets import Sheet
from dermlens.predict.sources.tables import (
    JOINT,
    NEEDED,
    Problems,
    check_map,
    is_guessed,
    is_telling,
    option,
    theirs,
)
from dermlens.predict.sources.vocabulary import age_of, is_date, is_missing, plain, sexes_of, site_of

NO_DIAGNOSIS = "unknown"
"""How an empty diagnosis is named in a label map."""
NO_WORD = "\0"
"""Stands for a diagnosis whose absence is a problem that was noted."""
ARCHIVE = ("diagnosis_1", "diagnosis_2", "diagnosis_3", "diagnosis_full", "iddx_3", "iddx_full")
"""The ISIC archive's columns of diagnoses."""
LEVELS = "::"
"""Between the levels of a diagnosis in the ISIC archive's `diagnosis_full` and `iddx_full`."""


def classes_of(classes: Sequence[str] | None, labels: Mapping[str, str] | None) -> tuple[str, ...]:
    """The class list: as given; else the seven or, where a label map leads outside them, its targets.

    Raises:
        UserError: the label map leads to a class that the given list lacks.
    """
    targets = {target for target in (labels or {}).values() if target}
    if classes is None:
        classes = sorted(targets) if targets - set(CLASSES) else CLASSES
    for source, target in (labels or {}).items():
        if target and target not in classes:
            raise UserError(
                f"label map: '{source}' leads to '{target}', which is no class{nearest(target, classes)}"
            )
    return tuple(classes)


def is_binary(words: Iterable[str]) -> bool:
    """Whether a source says benign, malignant or indeterminate and no more."""
    filled = {word for word in words if not is_missing(word)}
    return any(map(binary_of, filled)) and all(
        binary_of(word) is not None or plain(word) == "indeterminate" for word in filled
    )


class Diagnoses:
    """Reads the diagnoses of a source.

    Args:
        classes: the codes that are valid.
        labels: codes by the source's diagnoses; an empty one leaves the images out, `unknown` stands for no
            diagnosis.
        account: takes what was read as another word, and what was left out.
        problems: takes what is no diagnosis.
    """

    def __init__(
        self, classes: Sequence[str], labels: Mapping[str, str], account: Account, problems: Problems
    ) -> None:
        self._classes, self._labels = classes, labels
        self._account, self._problems = account, problems
        self._plain_labels = {plain(word): code for word, code in labels.items()}

    def code_of(self, word: str, further: Sequence[str], where: str, image: str = "") -> str | None:
        """The class of a diagnosis: by the label map, else by its name, else by what further columns say.

        Args:
            word: the diagnosis; levels of a hierarchy may stand in it, `Benign::…::Nevus`.
            further: what further columns say, the finer first.
            where: file and row.
            image: what the source calls the image.

        Returns:
            None for an image that is left out; empty where the diagnosis is a problem.
        """
        if word == NO_WORD:
            return ""
        words = [unicodedata.normalize("NFC", one) for one in (word, *further) if one]
        if not words:
            if NO_DIAGNOSIS in self._labels:
                return self._taken("", self._labels[NO_DIAGNOSIS])
            self._problems.add(
                f"no diagnosis; every image needs one of {', '.join(self._classes)}",
                where,
                f"--skip {NO_DIAGNOSIS}",
            )
            return ""
        levels = [one, *reversed(one.split(LEVELS))] if LEVELS in (one := words[0]) else [one]
        levels += words[1:]
        for one in levels:
            code = self._of(one)
            if code is None and is_bare_carcinoma(one) and is_of_ham10000(image):
                code = class_of("akiec", self._classes)
            if code is not None:
                return self._taken(one, code)
        whole = not word or any(self._account.columns.get(name) == "dx" for name in ARCHIVE)
        coarse = words if whole else words[1:]  # of the archive, which says no more of some images
        outside = next(
            (
                one
                for one in levels
                if is_diagnosis(one)
                or is_missing(one)
                or (binary_of(one) is not None and (one in coarse or len(levels) > len(words)))
            ),
            None,
        )
        if outside is not None:
            return self._taken(outside, "")
        close = nearest(plain(words[0]), self._classes)
        guess = close.removeprefix("; nearest: ").split(", ")[0] if "nearest" in close else ""
        if re.search(r"[;,/|+&?]", words[0]):  # several diagnoses, or a doubt, are no typing error
            guess = ""
        self._problems.add(
            f"diagnosis '{words[0]}' is not known{close}, or a label map that says what it is, or leaves it"
            " out",
            where,
            option("--label", guess, words[0]) if guess else f"--skip {shlex.quote(words[0])}",
        )
        return ""

    def _of(self, word: str) -> str | None:
        """The class of a word; empty where the label map drops it."""
        if word in self._labels:
            return self._labels[word]
        if plain(word) in self._plain_labels:
            return self._plain_labels[plain(word)]
        return class_of(word, self._classes)

    def _taken(self, word: str, code: str) -> str | None:
        if not code:
            self._account.left_out[word or NO_DIAGNOSIS] += 1
            return None
        if plain(word) != plain(code):
            self._account.map("dx", word or NO_DIAGNOSIS, code)
        return code


# Which column holds what, by its cells: suggested to the user as an option, never acted upon.


ENOUGH = 0.5
"""Share of a column's cells that must be understood for it to be named."""
AGE_NAMES = frozenset({
    "age", "alter", "edad", "eta", "idade", "leeftijd", "alder", "ans", "jahre", "lebensalter", "wiek",
    "yas",
})  # fmt: skip


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
    for named in filter(None, (columns or {}).values()):
        for part in [named] if named in sheet.header else named.split(JOINT):
            sheet.column(part.strip())  # which says that there is none
    if image_id_of(sheet.header[0]) in found.images:
        raise UserError(
            f"{sheet.path} names no columns: its first row is of image {sheet.header[0]}; put a row with "
            "image_id, dx and so on above it"
        )
    for number, row in zip(sheet.numbers[:10], sheet.rows, strict=False):
        if all(theirs(row, ours) for ours in NEEDED):
            raise UserError(f"{sheet.path}: row {number} names the columns; delete the rows above it")
    lacking = [ours for ours in NEEDED if theirs(sheet.header, ours, columns) is None]
    guessed = guess_columns(sheet, found, classes, labels)
    options = [option("--column", ours, name) for ours, name in guessed.items()]
    if "dx" in guessed:
        words = dict.fromkeys(cell for cell in sheet.column(guessed["dx"]) if not is_missing(cell))
        unknown = [word for word in words if word not in labels and class_of(word, classes) is None]
        options += [option("--label", "CLASS", word) for word in unknown[:5]]
    unsure = [ours for ours in lacking if ours not in guessed]
    if "dx" in unsure and (hot := unknown_hot(sheet)):
        unsure.remove("dx")
        options.append(f"--classes {shlex.quote(','.join(hot))}")
    if "dx" in unsure and (binary := _binary_options(sheet)):
        unsure.remove("dx")
        options += binary
    options += [f"--column {ours}=…" for ours in unsure]
    raise UserError(
        f"{sheet.path} has no column for {' and '.join(lacking)}; it has"
        f" {', '.join(filter(None, sheet.header))}: say"
        f" which one holds it with a column map; perhaps {' '.join(options)}"
    )


def _binary_options(sheet: Sheet) -> list[str]:
    """The options that read a column of 0 and 1 as benign and malignant; none without such a column."""
    for name in sheet.header:
        if plain(name).replace(" ", "_") in MALIGNANT_COLUMNS:
            ones = {cell: hot(cell) for cell in sheet.column(name) if cell}
            if {*ones.values()} == {True, False}:
                labels = [
                    option("--label", "malignant" if one else "benign", cell) for cell, one in ones.items()
                ]
                return [option("--column", "dx", name), *labels]
    return []


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
            name: _share(sheet.column(name), test)
            for name in free
            if not is_guessed(name) and (ours == "dx" or not is_telling(name))
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


MALIGNANT_COLUMNS = {
    "target",
    "malignant",
    "is_malignant",
    "malignancy",
    "maligne",
    "maligno",
    "bosartig",
    "cancer",
}
"""Columns that are 1 where a lesion is malignant."""
COUNTING = frozenset({
    "id", "nr", "no", "num", "number", "nummer", "case", "fall", "fallnummer", "study", "visit", "encounter",
    "accession", "exam", "code",
})  # fmt: skip
"""Words in the names of columns that number something."""


LESIONS = frozenset(
    {"lesion", "lasion", "laesion", "lesao", "lesione", "lezyon", "mole", "spot", "nevus", "naevus"}
)
"""Names of columns that may number lesions."""


def image_column(sheet: Sheet, image_ids: Iterable[str], found: Survey) -> str | None:
    """Another column that names the images that are there, where the one that is read names none of them.

    Args:
        sheet: the table.
        image_ids: as it was read.
        found: the images.
    """
    if not found.images or any(image_id_of(cell) in found.images for cell in image_ids):
        return None
    shares = {
        name: _share(sheet.column(name), lambda cell: image_id_of(cell) in found.images)
        for name in sheet.header
        if name
    }
    best = max(shares, key=lambda name: shares[name], default="")
    return best if best and shares[best] >= ENOUGH else None


def folder_column(sheet: Sheet, cells: Sequence[str], found: Survey) -> str | None:
    """The column that says in which folder each image lies, where its name alone does not tell.

    Args:
        sheet: the table.
        cells: what it calls its images, row by row.
        found: the images.
    """
    if len(cells) != len(sheet.rows) or all(
        len(found.images.get(image_id_of(cell), ())) < 2 for cell in cells
    ):
        return None
    paths = set()
    for path in found.paths:
        *folders, name = found.relative(path).split("/")
        paths |= {"/".join((*folders[at:], image_id_of(name))) for at in range(len(folders))}
    for name in filter(None, sheet.header):
        pairs = zip(map(normal, sheet.column(name)), cells, strict=True)
        stated = (f"{folder.strip('/')}/{image_id_of(cell)}" for folder, cell in pairs)
        if all(path in paths for path in stated):
            return name
    return None


def is_birth_column(sheet: Sheet, name: str) -> bool:
    """Whether a column holds dates of birth, by its name and its cells."""
    header = plain(name)
    named = re.search(r"birth|dob|geburt|naissance|nacimiento|nascimento|nascita|dogum|geboorte", header)
    return named is not None and _share(sheet.column(name), is_date) >= ENOUGH


def may_group(sheet: Sheet, name: str) -> bool:
    """Whether a column numbers something that several images share, as those of one patient."""
    words = plain(name).split()
    if not COUNTING & {*words}:
        return False
    return groups_rows(sheet, name)


def groups_rows(sheet: Sheet, name: str) -> bool:
    """Whether a column has several values, and rows share them."""
    cells = [cell for cell in sheet.column(name) if not is_missing(cell)]
    return 1 < len(set(cells)) < 0.9 * len(cells)


def _is_age(cell: str) -> bool:
    age = age_of(cell)
    return age is not None and 0 <= age <= 120


def _share(cells: Sequence[str], test: Callable[[str], bool]) -> float:
    """The share of the cells that say something and pass."""
    words = [cell for cell in cells if not is_missing(cell)]
    results = {cell: test(cell) for cell in set(words)}
    return sum(results[cell] for cell in words) / len(words) if words else 0.0
