from __future__ import annotations

import csv
import subprocess
import sys

import pytest

from dermlens.errors import UserError
from dermlens.evaluation.ledger import COLUMNS, append_entry


def entry(**changes):
    return dict.fromkeys(COLUMNS, "x") | changes


def test_lines_are_added_and_old_ones_stay(tmp_path):
    ledger = tmp_path / "docs" / "results" / "ledger.csv"
    append_entry(ledger, entry(run="first, with a comma", melanoma_recall=None))
    before = ledger.read_text(encoding="utf-8")
    append_entry(ledger, entry(run="second"))
    after = ledger.read_text(encoding="utf-8")
    assert after.startswith(before)
    rows = list(csv.DictReader(after.splitlines()))
    assert [row["run"] for row in rows] == ["first, with a comma", "second"]
    assert rows[0]["melanoma_recall"] == ""


def test_a_line_without_its_end_is_not_joined(tmp_path):
    ledger = tmp_path / "ledger.csv"
    append_entry(ledger, entry(run="first"))
    ledger.write_text(ledger.read_text(encoding="utf-8").rstrip("\n"), encoding="utf-8")
    append_entry(ledger, entry(run="second"))
    assert len(ledger.read_text(encoding="utf-8").splitlines()) == 3


def test_another_file_is_left_alone(tmp_path):
    other = tmp_path / "notes.csv"
    other.write_text("my notes\n", encoding="utf-8")
    with pytest.raises(UserError, match="not a ledger"):
        append_entry(other, entry())
    assert other.read_text(encoding="utf-8") == "my notes\n"


def test_openings_at_once_are_all_entered(tmp_path):
    """Twelve processes, each of which reads the ledger and writes it anew."""
    ledger = tmp_path / "ledger.csv"
    program = (
        "import sys; from pathlib import Path; from dermlens.evaluation.ledger import COLUMNS, append_entry;"
        "append_entry(Path(sys.argv[1]), dict.fromkeys(COLUMNS, sys.argv[2]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, str(ledger), str(number)]) for number in range(12)
    ]
    assert [process.wait(timeout=60) for process in started] == [0] * 12
    rows = list(csv.DictReader(ledger.read_text(encoding="utf-8").splitlines()))
    assert sorted(int(row["run"]) for row in rows) == list(range(12))
