"""Nothing but an ordinary file is replaced; every option that writes asks the one place that decides it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from pathlib import Path
from typing import get_type_hints

import pytest
from command import exit_code

from dermlens.cli.app import app
from dermlens.errors import UserError
from dermlens.files import atomic_folder, atomic_path, check_target, write_text
from dermlens.predict.predictor import shipped_folder
from dermlens.targets import check_apart, file_target, folder_target

EXAMPLE = shipped_folder().parent / "serve" / "page" / "examples" / "a.jpg"


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def test_an_ordinary_file_there_or_not(tmp_path):
    assert file_target(tmp_path / "new" / "a.csv") == tmp_path.resolve() / "new" / "a.csv"
    (tmp_path / "a.csv").touch()
    assert file_target(tmp_path / "a.csv") == tmp_path.resolve() / "a.csv"
    assert folder_target(tmp_path / "new") == tmp_path.resolve() / "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("decide", [file_target, folder_target, check_target])
def test_no_pipe_and_no_socket(decide, tmp_path, pipe, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path may be 107 bytes long
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        for name, word in (("pipe", "pipe"), ("socket", "socket")):
            with pytest.raises(UserError, match=f"is a {word}"):
                decide(Path(name))


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
@pytest.mark.parametrize("decide", [file_target, folder_target])
def test_no_device(decide, kind, tmp_path, monkeypatch):
    """The system is made to say of an ordinary file that it is a device."""
    place = tmp_path / "tape"
    place.touch()
    look = Path.lstat

    def lstat(path):
        found = list(look(path))
        if path.name == "tape":
            found[0] = kind | 0o666
        return os.stat_result(found)

    monkeypatch.setattr(Path, "lstat", lstat)
    with pytest.raises(UserError, match="is a device"):
        decide(place)


@pytest.mark.parametrize(
    "place",
    [
        "/dev/null",
        "/dev/stdout",
        "/dev/fd/1",
        "/dev/sda",
        "/proc/self/fd/1",
        "/sys/power/state",
        "/dev/../dev/x",
    ],
)
@pytest.mark.parametrize("decide", [file_target, folder_target])
def test_nothing_of_the_system_by_name_or_link(decide, place, tmp_path):
    """By their names alone: whether they are there, and what standard output is now, plays no part."""
    (tmp_path / "link").symlink_to(place)
    (tmp_path / "second").symlink_to("link")
    (tmp_path / "folder").symlink_to(Path(place).parent)
    for path in (Path(place), tmp_path / "link", tmp_path / "second", tmp_path / "folder" / Path(place).name):
        with pytest.raises(UserError, match=r"device.*system"):
            decide(path)


def test_shared_memory_is_no_device():
    assert file_target(Path("/dev/shm/a.csv")) == Path("/dev/shm/a.csv")


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a folder"):
        file_target(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        folder_target(tmp_path / "file")


def test_a_link_stays_a_link_and_its_file_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real.txt").write_text("old")
    (tmp_path / "far" / "real.txt").chmod(0o600)
    (tmp_path / "link").symlink_to("far/real.txt")
    (tmp_path / "fresh").symlink_to("far/fresh.txt")
    write_text(tmp_path / "link", "new")
    write_text(tmp_path / "fresh", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "fresh").is_symlink()
    assert {path.name: path.read_text() for path in (tmp_path / "far").iterdir()} == {
        "real.txt": "new",
        "fresh.txt": "new",
    }
    assert (tmp_path / "far" / "real.txt").stat().st_mode & 0o777 == 0o600


def test_links_to_nowhere_and_in_a_circle(tmp_path):
    (tmp_path / "nowhere").symlink_to("absent/file")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    for name, words in (("nowhere", "does not exist"), ("one", "in a circle")):
        with pytest.raises(UserError, match=words):
            file_target(tmp_path / name)


def test_a_write_protected_file_stays(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    monkeypatch.setattr(os, "access", lambda path, how: False)  # the superuser may all
    with pytest.raises(UserError, match="is write-protected"):
        file_target(tmp_path / "a")


@pytest.mark.parametrize("write", [atomic_path, atomic_folder])
def test_writing_itself_asks_too(write, pipe):
    with pytest.raises(UserError, match="is a pipe"), write(pipe):
        pytest.fail("nothing may be written")
    assert stat.S_ISFIFO(pipe.lstat().st_mode)


READ = {
    "data", "resume", "run", "runs", "model", "table", "image", "images", "members", "weights", "wheel",
    "rescore", "unfold", "out_of_fold", "files",
}  # fmt: skip
"""Options and arguments that are only read."""


def writing() -> list[tuple[str, str, str]]:
    """Verb, parameter and callback of every path that is not only read."""
    found = []
    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    for command in [command for group in groups for command in group.registered_commands]:
        verb = command.name
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            if "Path" in repr(hint) and name not in READ:
                (info,) = [one for one in hint.__metadata__ if hasattr(one, "callback")]
                found.append((verb, name, getattr(info.callback, "__name__", "")))
    return found


def test_every_option_that_writes_asks():
    found = writing()
    assert len(found) > 30
    assert [one for one in found if one[2] not in ("to_file", "to_result", "to_folder")] == []


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "x.jpg", "--out", "PLACE"],
        ["explain", "x.jpg", "--out", "PLACE"],
        ["merge", "x.csv", "--out", "PLACE"],
        ["data", "split", "--data", "x", "--out", "PLACE"],
        ["evaluate", "x", "--open-test", "--ledger", "PLACE"],
        ["compare", "x", "y", "--figure", "PLACE"],
        ["train", "demo", "--data", "x", "--out", "PLACE"],
        ["export", "x", "--out", "PLACE"],
        ["model", "publish", "x", "--out", "PLACE"],
        ["data", "synthesize", "--out", "PLACE"],
        ["model", "weights", "mobilenet_v2", "--out", "PLACE"],
    ],
    ids=" ".join,
)
def test_verbs_refuse_a_pipe_and_a_link_to_a_device_at_once(words, pipe, tmp_path, capsys):
    """Before anything else is looked at: the other words are nonsense."""
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    for place in (pipe, link):
        assert exit_code(*(place if word == "PLACE" else word for word in words)) == 2
        assert str(place) in capsys.readouterr().err
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert link.readlink() == Path("/dev/null")


def test_no_result_is_written_over_what_it_is_made_of(tmp_path):
    picture, other = tmp_path / "a.png", tmp_path / "b.png"
    picture.write_bytes(b"pixels")
    (tmp_path / "answers.csv").symlink_to(picture)
    for path in (picture, tmp_path / "answers.csv"):
        with pytest.raises(UserError, match="written over"):
            check_apart(path, [other, picture])
    check_apart(other, [other, picture])  # nothing is there to be lost
    check_apart(picture, [other])


@pytest.mark.skipif(not Path("/dev/zero").is_char_device(), reason="no such device here")
@pytest.mark.parametrize(
    "words",
    [
        ["predict", str(EXAMPLE), "--table", "/dev/zero"],
        ["train", "/dev/zero", "--data", "x", "--out", "y"],
        ["data", "verify", "--data", "/dev/zero"],
    ],
    ids=lambda words: words[0],
)
def test_what_has_no_end_is_not_read(words, capsys):
    assert exit_code(*words) == 2
    assert "/dev/zero" in capsys.readouterr().err


def test_a_pipe_in_a_data_folder_is_waited_for_by_nobody(tmp_path):
    os.mkfifo(tmp_path / "metadata.csv")
    os.mkfifo(tmp_path / "b.jpg")
    os.mkfifo(tmp_path / "c")
    shutil.copy(EXAMPLE, tmp_path / "a.jpg")
    assert exit_code("data", "verify", "--data", str(tmp_path)) == 2
    assert exit_code("predict", str(tmp_path), "-o", str(tmp_path / "answers.json")) == 2
    assert "a" in (tmp_path / "answers.json").read_text()


def test_predict_and_split_keep_what_they_read(tmp_path):
    picture = shutil.copy(EXAMPLE, tmp_path / "a.jpg")
    (tmp_path / "link.csv").symlink_to(picture)
    table = tmp_path / "patients.csv"
    table.write_text("image_id,age\na,50\n")
    assert exit_code("predict", str(picture), "-o", str(tmp_path / "link.csv")) == 2
    assert exit_code("predict", str(picture), "--table", str(table), "-o", str(table)) == 2
    truth = tmp_path / "truth.csv"
    truth.write_text("image_id,dx\na,mel\n")
    assert exit_code("data", "split", "--data", str(tmp_path), "-o", str(tmp_path / "m.csv")) == 0
    assert exit_code("data", "split", "--data", str(tmp_path), "-o", str(truth)) == 2
    assert picture.read_bytes() == EXAMPLE.read_bytes()
    assert table.read_text() == "image_id,age\na,50\n"
    assert truth.read_text() == "image_id,dx\na,mel\n"


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ("model.json", ["predict", "PICTURE", "-o", "PLACE/measured.json"]),
        ("model.json", ["analyze", "source-probe", "demo", "--data", "x", "-o", "PLACE/model.json"]),
        ("crossfit.json", ["study", "soft-labels", "PLACE", "-o", "PLACE/predictions.csv"]),
        ("run.json", ["analyze", "missing-metadata", "PLACE", "--role", "test", "-o", "PLACE/split.csv"]),
        ("run.json", ["model", "weights", "mobilenet_v2", "-o", "PLACE/model.safetensors"]),
        ("run.json", ["embed", "PICTURE", "-o", "PLACE/decision.npz"]),
    ],
    ids=lambda one: " ".join(one[:2]) if isinstance(one, list) else one,
)
def test_what_a_run_or_a_model_keeps_is_no_place_for_a_result(sign, words, tmp_path, capsys):
    place = tmp_path / "run"
    place.mkdir()
    (place / sign).write_text("{}")
    target = place / Path(words[-1]).name
    target.write_text("{}")
    picture = shutil.copy(EXAMPLE, tmp_path / "a.jpg")
    given = [word.replace("PLACE", str(place)).replace("PICTURE", str(picture)) for word in words]
    assert exit_code(*given) == 2
    assert f"{target} belongs to" in capsys.readouterr().err
    assert target.read_text() == "{}"


def test_features_and_starts_are_not_written_over_what_they_are_made_of(tmp_path):
    picture = Path(shutil.copy(EXAMPLE, tmp_path / "a.npz"))
    assert exit_code("embed", str(picture), "-o", str(picture)) == 2
    assert exit_code("model", "weights", "mobilenet_v2", "--from", str(picture), "-o", str(picture)) == 2
    assert picture.read_bytes() == EXAMPLE.read_bytes()
