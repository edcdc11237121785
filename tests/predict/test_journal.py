"""Long jobs: every format, interruptions, and journals of other jobs."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.predict.journal import Journal
from dermlens.predict.patients import Patient, Request
from dermlens.predict.pictures.images import ImageError
from dermlens.predict.predictor import Predictor
from dermlens.predict.priors import named_prior


@pytest.fixture(scope="module")
def predictor(exported) -> Predictor:
    return Predictor.open(exported)


@pytest.fixture
def journal(predictor, lesions, tmp_path):
    """A journal of a job, or of another."""
    images = {"a": lesions / "a.jpg", "b": lesions / "b.png", "bad": lesions / "bad.jpg"}

    def begun(name="answers.csv", **changes):
        settings = {"prior": None, "images": images} | changes
        return Journal(tmp_path / name, predictor, settings.pop("prior"), Request(**settings))

    return begun


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_all_formats_hold_the_same(journal, predictor, lesions, tmp_path):
    found = {name: predictor.predict(lesions / name)[0] for name in ("a.jpg", "b.png")}
    for ending in ("csv", "json", "parquet"):
        with journal(f"answers.{ending}") as open_journal:
            for name, one in found.items():
                open_journal.add(name[0], one)
            open_journal.add("bad", "bad.jpg: no picture")
            open_journal.finish()
    rows = rows_of(tmp_path / "answers.csv")
    assert [row["image_id"] for row in rows] == ["a", "b"]
    table = parquet.read_table(tmp_path / "answers.parquet")
    assert table.column_names == list(rows[0])
    for by_csv, by_parquet in zip(rows, table.to_pylist(), strict=True):
        assert {name: str(value) for name, value in by_parquet.items()} == by_csv
    assert json.loads(table.schema.metadata[b"dermlens"])["model"] == predictor.id
    output = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert output["unreadable"] == {"bad": "bad.jpg: no picture"}
    assert [one["image_id"] for one in output["answers"]] == ["a", "b"]
    assert output["limits"] == list(predictor.limits)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".json", ".parquet"]


def test_a_withheld_answer_has_empty_cells(journal, predictor, lesions, tmp_path):
    """First of all rows, where a parquet file takes its types from."""
    (one,) = predictor.predict(lesions / "a.jpg")
    withheld = replace(
        one,
        state="withheld",
        p=None,
        diagnosis=None,
        set=None,
        suspicion=None,
        flagged=None,
        reason="it is none",
    )
    for ending in ("csv", "parquet", "json"):
        with journal(f"answers.{ending}") as open_journal:
            open_journal.add("a", withheld)
            open_journal.add("b", one)
            open_journal.finish()
    first, second = rows_of(tmp_path / "answers.csv")
    numbers = ["diagnosis", "set", "suspicion", *(f"p_{code}" for code in predictor.classes)]
    assert {first[name] for name in numbers} == {""}
    assert (first["state"], first["reason"]) == ("withheld", "it is none")
    assert "" not in {second[name] for name in numbers}
    table = parquet.read_table(tmp_path / "answers.parquet")
    assert {table[name][0].as_py() for name in numbers} == {None}
    assert table["p_mel"].type == "double"
    assert table["p_mel"][1].as_py() == pytest.approx(one.p["mel"])
    output = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))["answers"]
    assert [output[0][name] for name in ("diagnosis", "name", "p", "set")] == [None] * 4


def test_no_answer_no_output(journal, tmp_path):
    for ending in ("csv", "json", "parquet"):
        with journal(f"answers.{ending}") as open_journal:
            open_journal.add("bad", "no picture")
            open_journal.finish()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", [b"", b'{"image_id": "b", "ro', b'{"image_id": "b"}'])
def test_it_goes_on_where_it_was_torn(journal, predictor, lesions, tmp_path, torn):
    (one,) = predictor.predict(lesions / "a.jpg")
    with journal() as first:
        first.add("a", one)
    with first.path.open("ab") as file:
        file.write(torn)
    with journal() as second:
        assert second.done == {"a"}
        second.add("b", one)
        second.finish()
    assert [row["image_id"] for row in rows_of(tmp_path / "answers.csv")] == ["a", "b"]


@pytest.mark.parametrize(
    "other",
    [
        {"prior": named_prior("equal", CLASSES)},
        {"everyone": Patient(age=5)},
        {"patients": {"a": Patient(sex="male")}},
    ],
    ids=["prior", "everyone", "patients"],
)
def test_another_job_s_journal_is_refused(journal, predictor, lesions, other):
    with journal() as first:
        first.add("a", predictor.predict(lesions / "a.jpg")[0])
    with pytest.raises(UserError, match=r"answers\.csv\.partial.*another job"):
        journal(**other)


def test_another_decision_of_one_network_is_another_job(journal, exported, lesions, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "model")
    document = json.loads((folder / "model.json").read_text())
    document["decision"]["abstention"]["least_confidence"] = 0.9
    (folder / "model.json").write_text(json.dumps(document | {"manifest": None}))
    other = Predictor.open(folder)
    with journal() as first:
        first.add("a", other.predict(lesions / "a.jpg")[0])
    with pytest.raises(UserError, match="another job"):
        Journal(tmp_path / "answers.csv", other, None, Request({"a": lesions / "a.jpg"}))


def test_another_folder_s_answers_are_never_taken(journal, predictor, lesions, tmp_path):
    """Images of one name in two folders are two images."""
    other = shutil.copy(lesions / "b.png", tmp_path / "a.jpg")
    with journal() as first:
        first.add("a", predictor.predict(lesions / "a.jpg")[0])
    before = first.path.read_bytes()
    for images in ({"a": other}, {"b": lesions / "b.png"}):
        with pytest.raises(UserError, match=r"another job.*a\.jpg"):
            journal(images=images)
    assert first.path.read_bytes() == before
    with journal(images={"a": lesions / "a.jpg", "z": other}) as grown:
        assert grown.done == {"a"}


def test_what_could_not_be_read_or_has_changed_is_answered_again(journal, predictor, lesions, tmp_path):
    images = {name: tmp_path / f"{name}.png" for name in ("kept", "changed", "mended")}
    for name in ("kept", "changed"):
        shutil.copy(lesions / "b.png", images[name])
    images["mended"].write_bytes(b"no")
    with journal(images=images) as first:
        for name in ("kept", "changed"):
            first.add(name, predictor.predict(images[name])[0])
        first.add("mended", "mended.png: no picture")
    for name in ("changed", "mended"):
        shutil.copy(lesions / "a.jpg", images[name])
    (expected,) = predictor.predict(lesions / "a.jpg")
    with journal(images=images) as second:
        assert second.done == {"kept"}
        second.add("changed", expected)
    with journal("answers.csv", images=images) as third:
        assert third.done == {"kept", "changed"}
        third.add("mended", expected)
        third.finish()
    rows = {row["image_id"]: row["p_mel"] for row in rows_of(tmp_path / "answers.csv")}
    assert list(rows) == ["kept", "changed", "mended"]
    assert rows["changed"] == rows["mended"] == f"{expected.p['mel']:.9g}" != rows["kept"]


def test_what_is_mended_is_not_named_as_unreadable(journal, predictor, lesions, tmp_path):
    with journal("answers.json") as first:
        first.add("bad", "bad.jpg: no picture")
    with journal("answers.json") as second:
        second.add("bad", predictor.predict(lesions / "a.jpg")[0])
        second.finish()
    output = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert [one["image_id"] for one in output["answers"]] == ["bad"]
    assert output["unreadable"] == {}


@pytest.mark.parametrize("content", [b"my notes\nof years\n", b"\0\1\2", b"{}\n", b"7\n", b'{"a": 1}'])
def test_a_file_that_is_no_journal_stays_as_it_is(journal, tmp_path, content):
    path = tmp_path / "answers.csv.partial"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"answers\.csv\.partial.*no journal"):
        journal()
    assert path.read_bytes() == content


@pytest.mark.parametrize("line", [b"{}", b"7", b"rubbish", b'{"image_id": "b", "row": {}, "answer": {}}'])
def test_a_damaged_line_is_named(journal, predictor, lesions, line):
    with journal() as first:
        first.add("a", predictor.predict(lesions / "a.jpg")[0])
    with first.path.open("ab") as file:
        file.write(line + b"\n")
    before = first.path.read_bytes()
    with pytest.raises(UserError, match=r"answers\.csv\.partial, line 3"):
        journal()
    assert first.path.read_bytes() == before


def test_a_heading_that_was_cut_short_is_written_again(journal, tmp_path):
    with journal() as first:
        heading = first.path.read_bytes()
    for torn in (b"", heading[:30], heading[:-1]):
        first.path.write_bytes(torn)
        with journal() as second:
            assert second.path.read_bytes() == heading


def test_one_process_writes_a_journal(journal, tmp_path):
    with journal() as first, pytest.raises(UserError, match="another process"):
        journal()
    with journal() as second:
        second.abandon()
    assert not first.path.exists()


@pytest.mark.parametrize("lesion", ["=HYPERLINK(1)", "@x", "a,=b"])
def test_a_lesion_that_a_spreadsheet_would_run_is_in_no_csv(journal, tmp_path, lesion):
    with pytest.raises(UserError, match="as a formula"):
        journal(lesion_of={"a": lesion})
    assert list(tmp_path.iterdir()) == []
    journal("answers.json", lesion_of={"a": lesion}).abandon()


def test_a_disk_that_fills_up_costs_no_answer_that_is_there(exported, lesions, tmp_path):
    """The last line may be cut short; the same command goes on from the one before."""
    resource = pytest.importorskip("resource")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(6):
        shutil.copy(lesions / "b.png", many / f"{number}.png")
    program = "from dermlens.cli.app import main; main()"
    command = [sys.executable, "-c", program, "predict", str(many), "--model", str(exported), "--out"]

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    full = subprocess.run(
        [*command, str(tmp_path / "two.csv")], capture_output=True, text=True, preexec_fn=little_room
    )
    assert (full.returncode, "disk is full" in full.stderr) == (2, True)
    assert not (tmp_path / "two.csv").exists()
    again = subprocess.run([*command, str(tmp_path / "two.csv")], capture_output=True, text=True, check=True)
    assert "going on where" in again.stderr
    subprocess.run([*command, str(tmp_path / "one.csv")], capture_output=True, check=True)
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_an_ending_that_says_nothing(journal, tmp_path):
    with pytest.raises(UserError, match=r"\.csv, \.json, \.parquet"):
        journal("new/answers.txt")
    assert list(tmp_path.iterdir()) == []


def test_killed_and_gone_on_it_writes_what_one_go_writes(dermlens, exported, lesions, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        shutil.copy(lesions / "b.png", folder / f"{number:03}.png")
    (folder / "bad.png").write_bytes(b"no")
    words = ["predict", str(folder), "--model", str(exported), "--out"]
    command = [sys.executable, "-c", "from dermlens.cli.app import main; main()", *words]
    assert dermlens(*words, tmp_path / "one.csv").code == 2
    journal = tmp_path / "two.csv.partial"
    for lines in (5, 20):
        running = subprocess.Popen([*command, str(tmp_path / "two.csv")], stderr=subprocess.DEVNULL)
        while running.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > lines):
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert not (tmp_path / "two.csv").exists()
    done = dermlens(*words, tmp_path / "two.csv")
    assert done.code == 2
    assert "going on where" in done.err
    assert "bad.png" in done.err
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert not journal.exists()


def test_two_at_once_and_another_folder_after_a_kill(dermlens, exported, lesions, tmp_path):
    folders = tmp_path / "one", tmp_path / "two"
    for folder, name in zip(folders, ("a.jpg", "b.png"), strict=True):
        folder.mkdir()
        for number in range(60):
            shutil.copy(lesions / name, folder / f"{number}.png")
    output = tmp_path / "answers.csv"
    journal = tmp_path / "answers.csv.partial"

    def words(folder):
        return "predict", str(folder), "--model", str(exported), "--out", str(output)

    program = "from dermlens.cli.app import main; main()"
    running = subprocess.Popen([sys.executable, "-c", program, *words(folders[0])], stderr=subprocess.DEVNULL)
    while running.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 5):
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGSTOP)
    second = dermlens(*words(folders[0]))
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    other = dermlens(*words(folders[1]))
    assert (second.code, other.code) == (2, 2)
    assert "another process" in second.err
    assert "another job" in other.err
    assert not output.exists()
    done = dermlens(*words(folders[0]))
    assert done.code == 0
    assert "going on where" in done.err
    rows = rows_of(output)
    assert len({row["image_id"] for row in rows}) == len(rows) == 60
    assert len({row["p_mel"] for row in rows}) == 1


def test_a_decoder_s_complaint_stops_nothing(predictor, lesions, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(lesions / "b.png", folder / "b.png")
    (folder / "a.png").write_bytes(b"")
    found = dict(predictor.predict_folder(folder))
    assert "empty (0 bytes)" in found["a"]
    assert found["b"] == predictor.predict(lesions / "b.png")[0]
    with pytest.raises(ImageError):
        predictor.predict(folder / "a.png")


def test_a_folder_that_was_moved_goes_on(journal, predictor, lesions, tmp_path):
    """Mounted elsewhere, as in a container: the key is the path below the folder, and the bytes."""
    first_folder, second_folder = tmp_path / "first", tmp_path / "second"
    for folder in (first_folder, second_folder):
        (folder / "visit").mkdir(parents=True)
        shutil.copyfile(lesions / "a.jpg", folder / "visit" / "a.jpg")
        shutil.copyfile(lesions / "b.png", folder / "b.png")

    def images(folder):
        return {"images": {"a": folder / "visit" / "a.jpg", "b": folder / "b.png"}, "folders": [folder]}

    with journal(**images(first_folder)) as first:
        first.add("a", predictor.predict(lesions / "a.jpg")[0])
    assert json.loads(first.path.read_bytes().splitlines()[1])["file"][0] == "visit/a.jpg"
    with journal(**images(second_folder)) as second:
        assert second.done == {"a"}
    (second_folder / "a.jpg").write_bytes((second_folder / "visit" / "a.jpg").read_bytes())
    elsewhere = images(second_folder) | {"images": {"a": second_folder / "a.jpg"}}
    with pytest.raises(UserError, match=r"visit/a\.jpg"):
        journal(**elsewhere)


def test_a_file_of_equal_length_and_time_is_another_file(journal, predictor, lesions, tmp_path):
    images = {name: Path(shutil.copy(lesions / "b.png", tmp_path / f"{name}.png")) for name in "ab"}
    (one,) = predictor.predict(lesions / "b.png")
    with journal(images=images) as first:
        first.add("a", one)
        first.add("b", one)
    stat = images["a"].stat()
    content = bytearray(images["a"].read_bytes())
    content[-1] ^= 1
    images["a"].write_bytes(content)
    os.utime(images["a"], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with journal(images=images) as second:
        assert second.done == {"b"}


@pytest.mark.parametrize("line", [0, 1, 2])
def test_flipped_bits_are_never_an_answer(journal, predictor, lesions, line):
    """Every bit of a place in a number or a word: the line stays JSON, and says something else."""
    (one,) = predictor.predict(lesions / "a.jpg")
    with journal() as first:
        first.add("a", one)
        first.add("b", one)
    lines = first.path.read_bytes().splitlines(keepends=True)
    for place in range(5, len(lines[line]) - 2, 17):
        damaged = bytearray(lines[line])
        damaged[place] ^= 1
        first.path.write_bytes(b"".join([*lines[:line], bytes(damaged), *lines[line + 1 :]]))
        with pytest.raises(UserError, match=r"delete the file|is no journal"):
            journal()


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@sum"])
def test_an_id_that_a_spreadsheet_would_run_is_in_no_csv(journal, predictor, lesions, tmp_path, name):
    image = shutil.copy(lesions / "a.jpg", tmp_path / f"{name}.jpg")
    with pytest.raises(UserError, match=r"spreadsheet.*id"):
        journal(images={name: image})
    with journal("answers.json", images={name: image}) as other:
        other.add(name, predictor.predict(lesions / "a.jpg")[0])
        other.finish()
    assert json.loads((tmp_path / "answers.json").read_text())["answers"][0]["image_id"] == name


def test_a_journal_that_is_a_link_is_left_alone(journal, tmp_path):
    """What it leads to would be written over where it is empty, or made where it is not there."""
    (tmp_path / "answers.csv.partial").symlink_to(tmp_path / "elsewhere")
    for make in (lambda: None, (tmp_path / "elsewhere").touch):
        make()
        with pytest.raises(UserError, match="in the way"):
            journal()
    assert (tmp_path / "elsewhere").read_bytes() == b""


@pytest.mark.parametrize("name", ["=1", "a;=1", "a,@x", "＝1"])
def test_ids_that_a_spreadsheet_would_run_are_refused_in_csv_alone(journal, lesions, name):
    images = {name: lesions / "a.jpg"}
    with pytest.raises(UserError, match="spreadsheet"):
        journal(images=images)
    with journal("answers.json", images=images) as begun:
        begun.abandon()
