from __future__ import annotations

import csv
import errno
import os
import stat
import subprocess
import sys

import pytest

from dermlens.errors import UserError
from dermlens.evaluation.ledger import COLUMNS, append_entry, openings, read_entries


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
    with pytest.raises(UserError, match="ledger"):
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
    assert [process.wait(timeout=600) for process in started] == [0] * 12
    rows = list(csv.DictReader(ledger.read_text(encoding="utf-8").splitlines()))
    assert sorted(int(row["run"]) for row in rows) == list(range(12))


def test_a_link_is_followed(tmp_path):
    kept = tmp_path / "kept" / "ledger.csv"
    append_entry(kept, entry(run="first"))
    link = tmp_path / "link.csv"
    link.symlink_to(kept)
    append_entry(link, entry(run="second"))
    assert link.is_symlink()
    assert [row["run"] for row in read_entries(kept)] == ["first", "second"]


def test_what_is_no_ordinary_file_is_left_alone(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for target in (pipe, tmp_path):
        with pytest.raises(UserError, match="no ordinary file"):
            append_entry(target, entry())
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_full_disk_leaves_the_old_lines(tmp_path, monkeypatch):
    ledger = tmp_path / "ledger.csv"
    append_entry(ledger, entry(run="first"))
    before = ledger.read_bytes()

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left"):
        append_entry(ledger, entry(run="second"))
    assert ledger.read_bytes() == before


def test_a_line_is_on_the_disk_before_it_counts(tmp_path, monkeypatch):
    """The file is synchronised while it holds the line."""
    ledger = tmp_path / "ledger.csv"
    seen = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(ledger.read_text(encoding="utf-8")))
    append_entry(ledger, entry(run="mine"))
    assert seen
    assert "mine" in seen[0]


@pytest.mark.parametrize(
    ("dates", "times", "words"),
    [
        ([], 0, "not been opened"),
        (["2026-01-02T03:04:05+00:00"], 1, "opened once, on 2026-01-02 03:04 UTC, by recipe a"),
        (
            ["2026-02-02T03:04:05+00:00", "2026-01-02T03:04:05+00:00"],
            2,
            "opened 2 times, first on 2026-01-02 03:04 UTC, last on 2026-02-02 03:04 UTC, by recipe a",
        ),
    ],
)
def test_looks_are_summed_up(dates, times, words):
    found = openings([entry(date=date, recipe="a") for date in dates])
    assert found.times == times
    assert words in found.sentence()
    assert found.to_json()["times"] == times
