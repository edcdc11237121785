from __future__ import annotations

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dermlens.errors import UserError
from dermlens.files import atomic_folder, atomic_path, check_target, write_json, write_text


def test_a_file_appears_whole(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "γ")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "γ"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail_halfway():
        with atomic_path(target) as part:
            part.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail_halfway()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def contents(folder):
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_takes_the_place_of_the_old_one_whole(tmp_path):
    target = tmp_path / "new" / "report"
    for number in (1, 2):
        with atomic_folder(target) as part:
            assert part.parent == target.parent
            assert not any(part.iterdir())
            write_text(part / "tables" / f"{number}.csv", "x")
            assert contents(target) == ({} if number == 1 else {"tables/1.csv": "x"})
    assert contents(target) == {"tables/2.csv": "x"}
    assert [path.name for path in target.parent.iterdir()] == ["report"]
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_a_folder_that_fails_halfway_leaves_the_old_one_and_nothing_else(tmp_path, error):
    target = tmp_path / "report"
    write_text(target / "a.txt", "old")

    def fail_halfway():
        with atomic_folder(target) as part:
            write_text(part / "a.txt", "half")
            raise error

    with pytest.raises(type(error)):
        fail_halfway()
    assert contents(tmp_path) == {"report/a.txt": "old"}


def test_a_folder_that_cannot_take_its_place_gives_it_back(tmp_path, monkeypatch):
    """Interrupted between the two renamings."""
    target = tmp_path / "report"
    write_text(target / "a.txt", "old")
    rename = Path.replace

    def interrupted(path, to):
        if path.suffixes[-2:] != [".old", ".part"] and Path(to) == target:
            raise KeyboardInterrupt
        return rename(path, to)

    def swap():
        with atomic_folder(target) as part:
            write_text(part / "a.txt", "new")
            monkeypatch.setattr(Path, "replace", interrupted)

    with pytest.raises(KeyboardInterrupt):
        swap()
    assert contents(tmp_path) == {"report/a.txt": "old"}


def test_a_process_that_is_killed_leaves_the_old_folder(tmp_path):
    target = tmp_path / "report"
    write_text(target / "a.txt", "old")
    program = (
        "import pathlib, sys, time; from dermlens.files import atomic_folder, write_text\n"
        "with atomic_folder(pathlib.Path(sys.argv[1])) as part:\n"
        "    write_text(part / 'a.txt', 'half'); print('half', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, target], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert contents(target) == {"a.txt": "old"}
    assert all(path == target or path.suffix == ".part" for path in tmp_path.iterdir())
    with atomic_folder(target) as part:
        write_text(part / "a.txt", "new")
    assert contents(tmp_path) == {"report/a.txt": "new"}


WRITER = (
    "import pathlib, sys, time; from dermlens.files import atomic_path\n"
    "with atomic_path(pathlib.Path(sys.argv[1])) as part:\n"
    "    part.write_text('half'); print(part, flush=True); sys.stdin.read()"
)


def writing_in_another_process(target):
    words = [sys.executable, "-c", WRITER, target]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    target = tmp_path / "a.txt"
    with writing_in_another_process(target) as killed:
        left = Path(killed.stdout.readline().strip())
        killed.kill()
    assert left.exists()
    with writing_in_another_process(target) as living:
        theirs = Path(living.stdout.readline().strip())
        assert theirs == left  # it took the place of what was left
        write_text(target, "ours")
        assert theirs.read_text() == "half"
        living.stdin.close()
        assert living.wait() == 0
    assert contents(tmp_path) == {"a.txt": "half"}  # the last to end


def test_what_two_killed_processes_left_of_one_file_is_all_swept(tmp_path):
    target = tmp_path / "a.txt"
    with writing_in_another_process(target) as one, writing_in_another_process(target) as other:
        left = {Path(process.stdout.readline().strip()) for process in (one, other)}
        one.kill()
        other.kill()
    assert len(left) == 2
    assert all(path.exists() for path in left)
    write_text(target, "ours")
    assert contents(tmp_path) == {"a.txt": "ours"}


def test_another_file_of_the_name_is_nobodys_to_sweep(tmp_path):
    (tmp_path / ".a.txt.part").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").write_text("kept")
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "precious").read_text() == "kept"
    assert (tmp_path / ".a.txt.part").is_symlink()
    (tmp_path / ".b.part").write_text("a file where a folder is to be made")
    with atomic_folder(tmp_path / "b") as part:
        write_text(part / "x", "y")
    assert (tmp_path / ".b.part").read_text() == "a file where a folder is to be made"


def test_a_folder_whose_process_died_between_the_two_renamings_is_put_back(tmp_path):
    write_text(tmp_path / ".report.old.part" / "a.txt", "old")
    with pytest.raises(OSError, match="full"), atomic_folder(tmp_path / "report"):
        raise OSError("full")
    assert contents(tmp_path) == {"report/a.txt": "old"}


def test_without_locks_files_are_written_and_nothing_is_swept(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    (tmp_path / ".a.txt.part").write_text("of somebody")
    write_text(tmp_path / "a.txt", "new")
    assert contents(tmp_path) == {"a.txt": "new", ".a.txt.part": "of somebody"}


def test_many_threads_write_one_file(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_text(tmp_path / "a.txt", str(n) * 1000), range(200)))
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() in {str(n) * 1000 for n in range(200)}


def test_a_folder_does_not_take_the_place_of_a_file_and_goes_where_a_link_leads(tmp_path):
    write_text(tmp_path / "file", "x")
    with pytest.raises(UserError, match="is a file"), atomic_folder(tmp_path / "file"):
        pass
    write_text(tmp_path / "far" / "report" / "a.txt", "old")
    (tmp_path / "link").symlink_to(tmp_path / "far" / "report")
    with atomic_folder(tmp_path / "link") as part:
        write_text(part / "a.txt", "new")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "far") == {"report/a.txt": "new"}


def test_a_target_is_checked_before_there_is_anything_to_write(tmp_path):
    target = tmp_path / "new" / "a.txt"
    check_target(target)
    assert list(tmp_path.rglob("*")) == [target.parent]
    target.write_text("old")
    check_target(target)
    assert target.read_text() == "old"
    for path, words in ((tmp_path, "is a folder"), (target / "x", "cannot be written: ")):
        with pytest.raises(UserError, match=words) as caught:
            check_target(path)
        assert str(caught.value).startswith(f"{path} ")


def test_json_keeps_order_and_refuses_nan(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [None, "é"]})
    assert list(json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))) == ["b", "a"]
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()
