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

import pyarrow.parquet as parquet
import pytest

from dermlens.data.images import ImageError
from dermlens.deploy.journal import Journal
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.requests import Patient
from dermlens.errors import UserError


@pytest.fixture(scope="module")
def predictor(exported) -> Predictor:
    return Predictor.open(exported)


@pytest.fixture
def journal(predictor, tmp_path):
    """A journal of a job, or of another."""

    def begun(name="answers.csv", **changes):
        settings = {"prior": None, "everyone": Patient(), "patients": {}} | changes
        return Journal(tmp_path / name, predictor, **settings)

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
    said = json.loads((tmp_path / "answers.json").read_text(encoding="utf-8"))
    assert said["unreadable"] == {"bad": "bad.jpg: no picture"}
    assert [one["image_id"] for one in said["answers"]] == ["a", "b"]
    assert said["limits"] == list(predictor.limits)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".csv", ".json", ".parquet"]


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
        assert (second.done, second.answered) == ({"a"}, 1)
        second.add("b", one)
        second.finish()
    assert [row["image_id"] for row in rows_of(tmp_path / "answers.csv")] == ["a", "b"]


@pytest.mark.parametrize(
    "other",
    [{"prior": [1.0] * 7}, {"everyone": Patient(age=5)}, {"patients": {"a": Patient(sex="male")}}],
    ids=["prior", "everyone", "patients"],
)
def test_another_job_s_journal_is_refused(journal, predictor, lesions, other):
    with journal() as first:
        first.add("a", predictor.predict(lesions / "a.jpg")[0])
    with pytest.raises(UserError, match=r"answers\.csv\.partial belongs to another job"):
        journal(**other)


def test_an_ending_that_says_nothing(journal):
    with pytest.raises(UserError, match=r"its ending says how to write; it is \.csv, \.json, \.parquet"):
        journal("answers.txt")


def test_killed_and_gone_on_it_writes_what_one_go_writes(exported, lesions, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        shutil.copy(lesions / "b.png", folder / f"{number:03}.png")
    (folder / "bad.png").write_bytes(b"no")
    command = [sys.executable, "-c", "from dermlens.cli import main; main()", "predict", str(folder)]
    command += ["--model", str(exported), "--output"]
    subprocess.run([*command, str(tmp_path / "one.csv")], capture_output=True, check=False)
    journal = tmp_path / "two.csv.partial"
    for lines in (5, 20):
        running = subprocess.Popen([*command, str(tmp_path / "two.csv")], stderr=subprocess.DEVNULL)
        while running.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > lines):
            time.sleep(0.01)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert not (tmp_path / "two.csv").exists()
    done = subprocess.run([*command, str(tmp_path / "two.csv")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "going on where" in done.stderr
    assert "bad.png" in done.stderr
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()
    assert not journal.exists()


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
