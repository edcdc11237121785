"""The ledger of opened tests: a line each time a test role is scored, by whom it may concern to be counted.

A test role that is looked at often becomes a selection role. The ledger prevents nothing; it shows how often.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dermlens.atomic import write_text
from dermlens.errors import UserError

COLUMNS = (
    "date",
    "run",
    "recipe",
    "recipe_sha256",
    "manifest",
    "split_sha256",
    "git_commit",
    "images",
    "accuracy",
    "mean_recall",
    "mean_recall_low",
    "mean_recall_high",
    "melanoma_recall",
)


try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def append_entry(ledger: Path, entry: Mapping[str, object]) -> None:
    """Add one line; the ledger is made, with its header, where there is none.

    The whole file is written anew and takes the old one's place, so that a full disk leaves the old one.

    Args:
        ledger: the CSV.
        entry: a value for every one of `COLUMNS`; None stays empty.

    Raises:
        UserError: the file is not such a ledger.
    """
    assert set(entry) == set(COLUMNS), "an entry names every column"
    header = ",".join(COLUMNS) + "\n"
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(
        ["" if entry[name] is None else entry[name] for name in COLUMNS]
    )
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with _alone(ledger.parent):
        old = ledger.read_text(encoding="utf-8") if ledger.is_file() else header
        if not old.startswith(header):
            raise UserError(
                f"{ledger} is not a ledger of opened tests: its first line must be {header.strip()}"
            )
        write_text(ledger, old + ("" if old.endswith("\n") else "\n") + line.getvalue())


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other processes from entering a line between our reading and our writing.

    The folder itself is locked, so that no file stays. Where there are no such locks nothing is held.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _wait_for(handle)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int) -> None:
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
