from __future__ import annotations

import csv

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
