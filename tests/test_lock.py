"""A claim is one process's; without locks nothing is claimed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from dermlens.errors import UserError
from dermlens.files import claimed, exclusive

fcntl = pytest.importorskip("fcntl")

HOLDER = (
    "import pathlib, sys; from dermlens.files import claimed\n"
    "with claimed(pathlib.Path(sys.argv[1])) as ours:\n"
    "    print(ours, flush=True); sys.stdin.readline()"
)
ADDER = (
    "import pathlib, sys, time; from dermlens.files import exclusive\n"
    "path = pathlib.Path(sys.argv[1])\n"
    "for _ in range(20):\n"
    "    with exclusive(path):\n"
    "        count = int(path.read_text()); time.sleep(0.001); path.write_text(str(count + 1))"
)


def held_by_another(file):
    words = [sys.executable, "-c", HOLDER, file]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture(params=["native", "soft"])
def kind(request, monkeypatch):
    if request.param == "soft":
        monkeypatch.setenv("DERMLENS_LOCKS", "soft")


def test_what_another_process_holds_stays_its_own(kind, tmp_path):
    file = tmp_path / "claim"
    with held_by_another(file) as holder:
        assert holder.stdout.readline() == "True\n"
        with claimed(file) as ours:
            assert not ours
        holder.communicate("done\n")
    assert not list(tmp_path.iterdir())


def test_a_killed_process_lets_go(kind, tmp_path):
    file = tmp_path / "claim"
    with held_by_another(file) as holder:
        assert holder.stdout.readline() == "True\n"
        holder.kill()
    with claimed(file) as ours:
        assert ours


def test_changes_under_the_lock_are_all_kept(kind, tmp_path):
    counter, link = tmp_path / "counter", tmp_path / "link"
    counter.write_text("0")
    link.symlink_to(counter)
    processes = [subprocess.Popen([sys.executable, "-c", ADDER, path]) for path in (counter, link, counter)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert counter.read_text() == "60"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["counter", "link"]


def test_a_lock_file_that_is_another_processs_by_now_stays(tmp_path):
    file = tmp_path / "claim"
    with claimed(file) as ours:
        assert ours
        file.unlink()
        file.touch()
    assert file.exists()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("take", [claimed, exclusive])
def test_without_locks_nothing_is_ours(number, take, tmp_path, monkeypatch):
    """As Lustre mounted with `noflock`, NFS without its lock manager and some FUSE file systems answer."""

    def flock(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(UserError, match="DERMLENS_LOCKS=soft"), take(tmp_path / "claim"):
        pytest.fail("nobody may go on")
    monkeypatch.setenv("DERMLENS_LOCKS", "soft")
    with take(tmp_path / "claim"):
        assert list(tmp_path.glob("*.marker"))


def test_an_unknown_choice_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DERMLENS_LOCKS", "hard")
    with pytest.raises(UserError, match="DERMLENS_LOCKS"), claimed(tmp_path / "claim"):
        pass


def test_a_place_that_takes_no_file_is_no_claim(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), claimed(tmp_path / "file" / "claim"):
        pytest.fail("nobody may go on")


def test_waiting_for_what_this_thread_holds_is_a_mistake_and_no_deadlock(tmp_path):
    with exclusive(tmp_path / "file"), pytest.raises(RuntimeError), exclusive(tmp_path / "file"):
        pass
