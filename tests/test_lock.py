"""A claim is one process's; to ask whose it is takes nothing away."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from dermlens.lock import claimed, is_claimed

fcntl = pytest.importorskip("fcntl")

HOLDER = (
    "import pathlib, sys; from dermlens.lock import claimed\n"
    "with claimed(pathlib.Path(sys.argv[1])) as ours:\n"
    "    print(ours, flush=True); sys.stdin.readline()"
)


def test_asking_makes_no_file_and_claims_nothing(tmp_path):
    file = tmp_path / "claim"
    assert not is_claimed(file)
    assert not file.exists()
    file.touch()
    assert not is_claimed(file)
    with claimed(file) as ours:
        assert ours


def test_what_another_process_holds_stays_its_own_however_often_one_asks(tmp_path):
    file = tmp_path / "claim"
    words = [sys.executable, "-c", HOLDER, file]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        assert all(is_claimed(file) for _ in range(100))
        with claimed(file) as ours:
            assert not ours
        assert is_claimed(file)
        holder.communicate("done\n")
    assert not is_claimed(file)


def test_a_claim_outlasts_one_who_asks(tmp_path):
    """Who asks shares the lock for an instant; here for longer than any would."""
    file = tmp_path / "claim"
    file.touch()
    with file.open("rb") as asker:
        fcntl.flock(asker, fcntl.LOCK_SH)
        threading.Timer(0.015, fcntl.flock, (asker, fcntl.LOCK_UN)).start()
        with claimed(file) as ours:
            assert ours
            assert is_claimed(file)


def test_those_who_ask_at_once_do_not_see_each_other(tmp_path):
    file = tmp_path / "claim"
    file.touch()
    with file.open("rb") as asker:
        fcntl.flock(asker, fcntl.LOCK_SH)
        assert not is_claimed(file)
