"""The ledger of opened tests: a line each time a test role is scored. Free of pandas.

A test role that is looked at often becomes a selection role. The ledger lies in the run's folder and goes
with it into reports, cards, pages and comparisons. It makes a look that nobody counts hard to do by accident;
it stops nobody who deletes the file.

Lines are only ever appended, under a lock, and are on the disk before a number is shown. A ledger may be a
link: its target is appended to.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dermlens.errors import UserError
from dermlens.lock import exclusive

LEDGER_FILE = "test_ledger.csv"
COLUMNS = (
    "date",
    "run",
    "recipe",
    "recipe_sha256",
    "manifest",
    "split_sha256",
    "code",
    "how",
    "images",
    "accuracy",
    "mean_recall",
    "mean_recall_low",
    "mean_recall_high",
    "melanoma_recall",
)
HEADER = ",".join(COLUMNS) + "\n"


@dataclass(frozen=True, slots=True)
class Openings:
    """What is known of the looks at a test role.

    Attributes:
        times: how many the ledger has.
        first, last: when, as ISO 8601; none where the ledger has no line.
        recipes: by which, each once, in the order of their first look.
        unrecorded: the run has scores or predictions of its test role, and its ledger no line: it was opened,
            and nobody wrote down when.
    """

    times: int = 0
    first: str | None = None
    last: str | None = None
    recipes: tuple[str, ...] = ()
    unrecorded: bool = False

    @property
    def opened(self) -> bool:
        """Whether the test role has been looked at."""
        return self.times > 0 or self.unrecorded

    def sentence(self) -> str:
        """When, how often and by which recipe, for people."""
        if not self.opened:
            return "The test role has not been opened."
        if self.unrecorded:
            return (
                "The test role has been opened; its ledger is gone, so nobody can say when, how often or by"
                " which recipe."
            )
        assert self.first is not None
        assert self.last is not None
        often = "once" if self.times == 1 else f"{self.times} times"
        when = f"on {_day(self.first)}"
        if _day(self.last) != _day(self.first):
            when = f"first on {_day(self.first)}, last on {_day(self.last)}"
        by = "recipe" if len(self.recipes) == 1 else "recipes"
        return f"The test role has been opened {often}, {when}, by {by} {', '.join(self.recipes)}."

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return asdict(self) | {"recipes": list(self.recipes)}


def append_entry(ledger: Path, entry: Mapping[str, object]) -> None:
    """Add one line; the ledger is made, with its header, where there is none.

    Args:
        ledger: the CSV, or a link to it.
        entry: a value for every one of `COLUMNS`; None stays empty.

    Raises:
        UserError: the file is not such a ledger, or cannot be written; it is as it was then.
    """
    assert set(entry) == set(COLUMNS), "an entry names every column"
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        ["" if entry[name] is None else entry[name] for name in COLUMNS]
    )
    target = ledger.resolve()
    if target.exists() and not target.is_file():
        raise UserError(f"{ledger} is no ordinary file: name a CSV file for the ledger of opened tests")
    try:
        with exclusive(target):
            _append(target, ledger, line.getvalue())
    except OSError as error:
        raise UserError(f"{ledger} cannot be written: {error.strerror or error}") from error


def read_entries(ledger: Path) -> list[dict[str, str]]:
    """The lines of a ledger, oldest first; none where there is no file.

    Raises:
        UserError: it is not such a ledger.
    """
    if not ledger.is_file():
        return []
    try:
        text = ledger.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(_no_ledger(ledger)) from error
    if not (text + "\n").startswith(HEADER):
        raise UserError(_no_ledger(ledger))
    return [{name: row.get(name) or "" for name in COLUMNS} for row in csv.DictReader(io.StringIO(text))]


def openings(entries: Sequence[Mapping[str, str]], *, unrecorded: bool = False) -> Openings:
    """What the lines of a ledger say together.

    Args:
        entries: of `read_entries`.
        unrecorded: whether there is a sign of a look that no line tells of.
    """
    if not entries:
        return Openings(unrecorded=unrecorded)
    dates = sorted(entry["date"] for entry in entries)
    recipes = tuple(dict.fromkeys(entry["recipe"] for entry in entries))
    return Openings(len(entries), dates[0], dates[-1], recipes)


def _append(target: Path, named: Path, line: str) -> None:
    """Write behind what is there and wait for the disk; what was written in part is taken back."""
    new = not target.exists()
    with target.open("a+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(len(HEADER.encode()))
        if size and head != HEADER.encode():
            raise UserError(_no_ledger(named))
        ended = True
        if size:
            file.seek(-1, os.SEEK_END)
            ended = file.read(1) == b"\n"
        try:
            file.write(((HEADER if not size else "" if ended else "\n") + line).encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise
    if new and hasattr(os, "O_DIRECTORY"):  # the folder's entry too, where a folder can be opened
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _no_ledger(ledger: Path) -> str:
    return f"{ledger} is not a ledger of opened tests: its first line must be {HEADER.strip()}"


def _day(stamp: str) -> str:
    """The date of a time in ISO 8601, to the minute."""
    return stamp[:16].replace("T", " ") + " UTC"
