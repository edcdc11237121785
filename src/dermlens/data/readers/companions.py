"""What lies beside a table and speaks of the same images: further tables, and lists that give roles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import pandas as pd

from dermlens.data.readers.account import Account
from dermlens.data.readers.diagnoses import contradict, is_onehot
from dermlens.data.readers.roles import role_of_name
from dermlens.data.readers.tables import DX_FURTHER, read_columns
from dermlens.predict.sources.folders import Survey, image_id_of, normal, split_name
from dermlens.predict.sources.sheets import Sheet, read_lines
from dermlens.predict.sources.tables import NAMES, NEEDED, is_answers, theirs
from dermlens.predict.sources.vocabulary import is_missing, plain


def is_companion(header: Sequence[str], classes: Collection[str] = ()) -> bool:
    """Whether a file says more of the same images: LesionGroupings, ISIC 2019's Metadata, HAM10000's form."""
    return (
        theirs(header, "image_id") is not None
        and not is_onehot(header, classes)
        and not is_answers(header)
        and any(theirs(header, ours) for ours in NAMES if ours not in NEEDED)
    )


def join_companions(
    frame: pd.DataFrame, companions: Sequence[Sheet], account: Account, lacking: Iterable[str] | None = None
) -> pd.DataFrame:
    """Fill columns that a frame lacks from tables of the same images.

    A row is of the image whose path it states, as far as it states one. One that names several images is not
    used, nor are values that two rows of one table contradict; of two tables the later counts. The
    account names all of that.

    Args:
        frame: with `image_id`, `dx` and `where`, and any of the other columns.
        companions: the tables; their diagnoses are compared, where they have some, and not read.
        account: takes what was joined.
        lacking: the columns to fill; by default those that the frame does not have.
    """
    if lacking is None:
        frame = frame.copy()
        frame[DX_FURTHER] = [()] * len(frame)
        lacking = [ours for ours in NAMES if ours not in frame]
    lacking = list(lacking)
    images = Images(frame["image_id"])
    keys = images.keys
    found: dict[str, dict[str, str]] = {ours: {} for ours in lacking}
    for sheet in companions:
        joined = _Companion(sheet, images, lacking)
        if not joined.says_something:
            account.not_read.append(f"{sheet.path} ({joined.why_not})")
            continue
        for ours, known in joined.values.items():
            other = [key for key, word in known.items() if _differ(found[ours].get(key, word), word)]
            if other:
                account.notes.append(
                    f"{sheet.path}: {ours} is another than in a table read before for {_first(other)};"
                    " this one counts"
                )
            found[ours] |= known
        if taken := [ours for ours, known in joined.values.items() if known]:
            account.joined[sheet.path] = taken
        account.telling += [name for name in joined.account.telling if name not in account.telling]
        account.unread += [name for name in joined.account.unread if name not in account.unread]
        account.notes += joined.notes(keys, frame["dx"])
    return frame.assign(**{ours: [known.get(key, "") for key in keys] for ours, known in found.items()})


class Images:
    """The images of a table, by what another table may call them.

    Attributes:
        keys: what each row calls its image, as it is compared: without suffix.
    """

    def __init__(self, cells: Iterable[str]) -> None:
        self.keys = [_key(cell) for cell in cells]
        self._known = set(self.keys)
        self._by_stem: dict[str, set[str]] = defaultdict(set)
        for key in self._known:
            self._by_stem[_stem(key)].add(key)

    def meant_by(self, cell: str) -> set[str]:
        """The images that a name can mean: the very one, else those of its name in the folders it states."""
        if (name := _key(cell)) in self._known:
            return {name}
        folded = name.casefold()
        return {
            key
            for key in self._by_stem.get(_stem(name), ())
            if (one := key.casefold()) == folded or one.endswith(f"/{folded}") or folded.endswith(f"/{one}")
        }


class _Companion:
    """What a table says of images."""

    def __init__(self, sheet: Sheet, images: Images, lacking: Sequence[str]) -> None:
        self.account = Account(sheet.path)
        # Its diagnosis is not read: any of its columns stands in for the one that it need not have.
        rows = read_columns(sheet, {"dx": sheet.header[0]}, self.account)
        self._sheet = sheet
        self._several: list[str] = []
        self._rows_of: dict[str, list[int]] = defaultdict(list)
        for row, cell in enumerate(rows["image_id"]):
            meant = images.meant_by(cell)
            if len(meant) > 1:
                self._several.append(cell)
            for key in meant if len(meant) == 1 else ():
                self._rows_of[key].append(row)
        self._contradicted: dict[str, list[str]] = {}
        self.values = {
            ours: self._values_of(ours, rows[ours].tolist()) for ours in lacking if any(rows[ours])
        }

    @property
    def says_something(self) -> bool:
        """Whether any of it is of these images."""
        return any(self.values.values()) or bool(self._several) or bool(self._contradicted)

    @property
    def why_not(self) -> str:
        """Why nothing of it is used."""
        return "nothing of it is lacking" if self._rows_of else "it says nothing of these images"

    def _values_of(self, ours: str, cells: Sequence[str]) -> dict[str, str]:
        known, contradicted = {}, []
        for key, rows in self._rows_of.items():
            words = [cells[row] for row in rows if not is_missing(cells[row])]
            if any(_differ(words[0], word) for word in words[1:]):
                contradicted.append(key)
            elif words:
                known[key] = words[0]
        if contradicted:
            self._contradicted[ours] = contradicted
        return known

    def notes(self, keys: Sequence[str], dx: Iterable[str]) -> list[str]:
        """Sentences on what of it was not used, and where it contradicts the diagnoses."""
        path = self._sheet.path
        notes = [f"{path}: {self._sheet.encoding}"] if self._sheet.encoding else []
        if 0 < len(self._rows_of) < len(set(keys)):
            notes.append(f"{path}: has rows for {len(self._rows_of):,} of {len(set(keys)):,} images")
        if self._several:
            notes.append(
                f"{path}: not used are {len(self._several):,} rows, each of which names several images,"
                f" '{self._several[0]}' first; state their folders"
            )
        notes += [
            f"{path}: {ours} is not used where two rows of an image contradict each other, for {_first(them)}"
            for ours, them in self._contradicted.items()
        ]
        column = theirs(self._sheet.header, "dx")
        if column is not None:
            words = self._sheet.column(column)
            other = [
                key
                for key, truth in dict(zip(keys, dx, strict=True)).items()
                for row in self._rows_of.get(key, ())[:1]
                if contradict(truth, words[row])
            ]
            if other:
                notes.append(f"{path}: {column} contradicts the diagnoses that are read, for {_first(other)}")
        return notes


def _key(cell: str) -> str:
    """A name or a path as it is compared: without suffix and without `./`."""
    return "/".join(part for part in split_name(normal(cell))[0].split("/") if part not in ("", ".", ".."))


def _stem(key: str) -> str:
    return image_id_of(key).casefold()


def _differ(one: str, other: str) -> bool:
    return plain(one).removesuffix(".0") != plain(other).removesuffix(".0")


def _first(keys: Sequence[str]) -> str:
    return f"{len(keys):,} image{'' if len(keys) == 1 else 's'}, {keys[0]} first"


ENDINGS = (".txt", ".lst", ".list")
INDEXES = {"indexes", "index", "indices", "idx"}
"""The header of Derm7pt's lists: numbers of rows of its table, the first 0."""
MOST = 2**24
"""Bytes of a list that is looked at."""


def listed_roles(
    cells: Sequence[str], found: Survey, read: Iterable[Path], account: Account
) -> list[str] | None:
    """The roles that lists give to the rows of a table; empty for rows in no list, none where no lists do.

    Args:
        cells: what the table calls its images.
        found: the data folder.
        read: the tables that are read already.
        account: takes which lists were used.
    """
    known = {*read}
    lists = [path for path in found.tables if path not in known]
    lists += [Path(path) for path in found.others if path.lower().endswith(ENDINGS)]
    images = Images(cells)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for row, key in enumerate(images.keys):
        rows_of[key].append(row)
    given: dict[int, set[str]] = defaultdict(set)
    used: dict[Path, str] = {}
    for path in lists:
        role = role_of_name(path.stem)
        if not role or not path.is_file() or path.stat().st_size > MOST:
            continue
        for row in _rows(read_lines(path), images, rows_of, len(cells)):
            given[row].add(role)
            used[path] = role
    if len(set(used.values())) < 2:
        return None
    named = ", ".join(f"{path.name} ({role})" for path, role in used.items())
    if several := [row for row, roles in given.items() if len(roles) > 1]:
        account.notes.append(
            f"roles: {named} give several roles to {len(several):,} images, {cells[several[0]]} first; they"
            " are not used"
        )
        return None
    account.notes.append(f"roles: by the lists {named}")
    account.not_read = [
        why for why in account.not_read if not any(why.startswith(f"{path} (") for path in used)
    ]
    return [next(iter(given.get(row, ())), "") for row in range(len(cells))]


def _rows(
    lines: Sequence[Sequence[str]], images: Images, rows_of: dict[str, list[int]], number: int
) -> list[int]:
    """The rows of a table that a list names, by number or by image."""
    if lines and len(lines[0]) == 1 and plain(lines[0][0]) in INDEXES:
        numbers = [int(line[0]) for line in lines[1:] if line and line[0].isdecimal()]
        return [row for row in numbers if row < number]
    found = []
    for line in lines:
        for cell in (one for word in line for one in (word, word.rsplit(" ", 1)[0])):  # `a.jpg 0` has a label
            if len(meant := images.meant_by(cell)) == 1:
                found += rows_of[meant.pop()]
                break
    return found
