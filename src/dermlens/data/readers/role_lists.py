"""Roles by lists beside a table: Derm7pt's `train_indexes.csv`, or `train.txt` with names of images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from dermlens.data.readers.account import Account
from dermlens.data.readers.companions import Images
from dermlens.data.readers.roles import role_of_name
from dermlens.predict.sources.folders import Survey
from dermlens.predict.sources.sheets import read_lines
from dermlens.predict.sources.vocabulary import plain

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
        said = [int(line[0]) for line in lines[1:] if line and line[0].isdecimal()]
        return [row for row in said if row < number]
    found = []
    for line in lines:
        for cell in (one for said in line for one in (said, said.rsplit(" ", 1)[0])):  # `a.jpg 0` has a label
            if len(meant := images.meant_by(cell)) == 1:
                found += rows_of[meant.pop()]
                break
    return found
