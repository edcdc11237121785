"""The ledger of opened tests: a line each time a test role is scored, by whom it may concern to be counted.

A test role that is looked at often becomes a selection role. The ledger prevents nothing; it shows how often.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from dermlens.atomic import write_text
from dermlens.errors import UserError
from dermlens.lock import exclusive

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
    with exclusive(ledger):
        old = ledger.read_text(encoding="utf-8") if ledger.is_file() else header
        if not old.startswith(header):
            raise UserError(
                f"{ledger} is not a ledger of opened tests: its first line must be {header.strip()}"
            )
        write_text(ledger, old + ("" if old.endswith("\n") else "\n") + line.getvalue())
