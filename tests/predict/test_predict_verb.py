"""`dermlens predict` as a person uses it, rubbish included."""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from dermlens.labels import CLASSES, DIAGNOSES
from dermlens.predict.predictor import Predictor


@pytest.fixture
def predict(dermlens, exported):
    """Run the verb on the tiny model; its exit code, what it says, and what it complains of."""

    def run(*words: object, model: object = exported) -> tuple[int, str, list[str]]:
        code, out, err = dermlens("predict", *words, "--model", model)
        return code, out, err.splitlines()

    return run


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_image_is_told_in_full(predict, lesions):
    code, out, err = predict(lesions / "a.jpg", "--age", "55", "--sex", "male", "--site", "back")
    assert (code, err) == (0, [])
    output = " ".join(out.split())
    for diagnosis in DIAGNOSES:
        assert diagnosis.name in output
    for words in (
        "Most likely: ",
        "cannot be ruled out",
        "lagged at the mark that catches 95 of 100 malignant lesions",
        "The probabilities hold for the case mix “clinic”, clinic: akiec 4.0 %",
        "Research software, not a medical device",
        "It has learnt nothing.",
    ):
        assert words in output


def test_several_are_told_in_a_row_each(predict, lesions):
    code, out, _ = predict(lesions)
    assert code == 0
    assert "Research software, not a medical device" in out
    lines = [line for line in out.splitlines() if line.startswith("│")]
    assert [line.split("│")[1].strip() for line in lines] == ["a", "b", "c", "d"]


def test_csv_and_json_say_the_same(predict, lesions, tmp_path):
    table = tmp_path / "answers.csv"
    code, out, err = predict(lesions, "--out", table, "--json")
    assert (code, err) == (0, [])
    rows, output = rows_of(table), json.loads(out)
    assert list(rows[0]) == [
        "image_id", "state", "flagged", "diagnosis", *(f"p_{code}" for code in CLASSES), "set", "suspicion",
        "melanoma", "ood", "reason", "remedy", "prior", "model",
    ]  # fmt: skip
    assert [row["image_id"] for row in rows] == ["a", "b", "c", "d"]
    for row, one in zip(rows, output["answers"], strict=True):
        assert (row["image_id"], row["diagnosis"], row["reason"]) == (
            one["image_id"],
            one["diagnosis"],
            one["reason"],
        )
        assert [float(row[f"p_{code}"]) for code in CLASSES] == pytest.approx(list(one["p"].values()))
        assert sum(one["p"].values()) == pytest.approx(1)
        assert sorted(row["set"].split("|")) == sorted(one["set"])
        assert one["diagnosis"] in one["set"]
        assert (row["prior"], row["model"]) == (one["prior"], one["model"]) == ("clinic", output["model"])
        assert row["state"] == one["state"] in ("answered", "uncertain")
        assert row["flagged"] == ("yes" if one["flagged"] else "no")
        assert one["diagnosis"] == max(one["p"], key=one["p"].get)
        assert sum(float(row[f"p_{code}"]) for code in CLASSES) == pytest.approx(1, abs=1e-8)
        assert float(row["ood"]) == pytest.approx(one["ood"])
    assert "not a medical device" in output["limits"][0]
    assert output["prior"]["shares"]["nv"] == pytest.approx(0.65)
    assert output["unreadable"] == {}


def test_what_cannot_be_read_stops_nothing_else(predict, lesions, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("a.jpg", "b.png"):
        (folder / name).write_bytes((lesions / name).read_bytes())
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    (folder / "cut.jpg").write_bytes((lesions / "a.jpg").read_bytes()[:-300])
    code, _, err = predict(folder, folder / "absent.jpg", "--out", tmp_path / "answers.csv")
    assert code == 2
    assert [row["image_id"] for row in rows_of(tmp_path / "answers.csv")] == ["a", "b"]
    assert len(err) == 4
    for name in ("empty.jpg", "text.png", "cut.jpg", "absent.jpg"):
        assert any(name in line and line.startswith("dermlens: ") for line in err)


def test_a_name_that_is_no_text_stops_nothing_else(exported, lesions, tmp_path):
    """With streams as a terminal has them."""
    folder = tmp_path / os.fsdecode(b"\xff")
    folder.mkdir()
    for name in ("a.jpg", os.fsdecode(b"\xfe.jpg")):
        (folder / name).write_bytes((lesions / "a.jpg").read_bytes())
    (folder / "bad.jpg").write_bytes(b"no")
    words = ("predict", folder, "--json", "--out", tmp_path / "answers.csv", "--model", exported)
    command = [sys.executable, "-c", "from dermlens.cli.app import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert [row["image_id"] for row in rows_of(tmp_path / "answers.csv")] == ["a"]
    assert len(done.stderr.splitlines()) == 2
    assert sorted(json.loads(done.stdout)["unreadable"]) == [r"'\udcfe'", "bad"]


def test_masks_are_named_and_not_answered(predict, lesions, tmp_path):
    for name in ("a.jpg", "a_segmentation.png"):
        (tmp_path / name).write_bytes((lesions / "a.jpg").read_bytes())
    code, out, (line,) = predict(tmp_path, "--json")
    assert code == 0
    assert [one["image_id"] for one in json.loads(out)["answers"]] == ["a"]
    assert line.startswith("dermlens: left out: 1 lesion masks")


def test_where_nothing_can_be_written_nothing_is_answered(predict, lesions, tmp_path, monkeypatch):
    monkeypatch.setattr("dermlens.predict.predictor.answer_stream", None)
    code, _, (line,) = predict(lesions, "--out", tmp_path)
    assert code == 2
    assert line.startswith(f"dermlens: {tmp_path} is a folder")


def test_a_full_disk_is_said_to_be_full(predict, lesions, tmp_path):
    """A file of no bytes is allowed, a longer one is not: the kernel says EFBIG, without a name."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        code, _, (line,) = predict(lesions / "a.jpg", "--out", tmp_path / "answers.csv")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    assert line.startswith("dermlens: the disk")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_said_beside_no_answer(predict, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no")
    code, out, (line,) = predict(tmp_path / "x.jpg")
    assert (code, out) == (2, "")
    assert "x.jpg" in line


def test_no_readable_image_leaves_no_file(predict, tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"no")
    code, _, err = predict(tmp_path / "x.jpg", "--out", tmp_path / "answers.csv")
    assert code == 2
    assert len(err) == 1
    assert not (tmp_path / "answers.csv").exists()


def test_a_table_says_who(predict, lesions, tmp_path):
    table = tmp_path / "patients.csv"
    table.write_text("image_id,age,sex,site\na,80,male,face\nb,,,\nc,,,elsewhere\n")
    code, out, err = predict(lesions, "--table", table, "--json")
    assert code == 0
    assert [line.partition(":")[0] for line in err] == ["dermlens", "dermlens"]
    assert any("elsewhere" in line for line in err)
    assert any("1 of 4 images, d first" in line for line in err)
    by_table = {one["image_id"]: one for one in json.loads(out)["answers"]}
    options = ("--age", "80", "--sex", "male", "--site", "head/neck", "--json")
    assert json.loads(predict(lesions / "a.jpg", *options)[1])["answers"] == [by_table["a"]]
    assert json.loads(predict(lesions / "b.png", "--json")[1])["answers"] == [by_table["b"]]
    assert json.loads(predict(lesions / "a.jpg", "--json")[1])["answers"] != [by_table["a"]]


def test_priors(predict, lesions):
    """Shares as people write them, 1e0 among them; no prior moves suspicion and flag."""
    specialist, equal, own, listed = (
        json.loads(predict(lesions / "a.jpg", "--json", "--prior", prior)[1])
        for prior in (
            "specialist", "equal", "akiec=1e0,bcc=1,bkl=1, df=1,mel=4,nv=1,vasc=1", "1,1,1,1,4,1,1",
        )
    )  # fmt: skip
    assert equal["prior"]["shares"] == pytest.approx(dict.fromkeys(CLASSES, 1 / 7))
    assert own["prior"]["shares"]["mel"] == pytest.approx(0.4)
    assert own == listed
    one = specialist["answers"][0]
    assert (specialist["prior"]["name"], one["prior"]) == ("specialist", "specialist")
    for other in (equal, own):
        for name in ("suspicion", "melanoma", "flagged"):
            assert other["answers"][0][name] == one[name]
    p, q = equal["answers"][0]["p"], own["answers"][0]["p"]
    assert q["mel"] / q["nv"] == pytest.approx(4 * p["mel"] / p["nv"])
    assert one["p"] != equal["answers"][0]["p"]


def test_an_answer_says_its_shares_and_another_command_takes_them_as_they_stand(predict, lesions, tmp_path):
    shares = ",".join(f"{code}={number}" for code, number in zip(CLASSES, (2, 1, 3, 1, 1, 7, 1), strict=True))
    output = json.loads(predict(lesions / "a.jpg", "--json", "--prior", shares)[1])
    written = output["answers"][0]["prior"]
    assert dict(one.split("=") for one in written.split(","))["nv"] == "0.4375"
    predict(lesions / "a.jpg", "--prior", written, "--out", tmp_path / "again.csv")
    (row,) = rows_of(tmp_path / "again.csv")
    assert row["prior"] == written
    assert float(row["p_mel"]) == pytest.approx(output["answers"][0]["p"]["mel"], rel=1e-5)


def test_a_prior_in_huge_numbers_is_that_of_their_ratios(predict, lesions):
    huge = ",".join(f"{code}=1e308" for code in CLASSES)
    code, out, err = predict(lesions / "a.jpg", "--json", "--prior", huge)
    assert (code, err) == (0, [])
    output, equal = json.loads(out), json.loads(predict(lesions / "a.jpg", "--json", "--prior", "equal")[1])
    assert output["prior"]["shares"] == pytest.approx(equal["prior"]["shares"])
    assert output["answers"][0]["p"] == pytest.approx(equal["answers"][0]["p"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--age", "400"), "--age is 400"),
        (("--age", "old"), "--age is 'old'"),
        (("--sex", "x"), "--sex is 'x'"),
        (("--site", "elsewhere"), "--site 'elsewhere'"),
        (("--table", "/nowhere.csv"), "/nowhere.csv"),
        (("--table", "/nowhere.csv", "--age", "4"), "--age, --sex and --site"),
        (("--prior", "specialst"), "specialist, equal, ham10000"),
        (("--prior", "natural"), "--prior natural"),
        (("--prior", "mel=1,mel=2"), "given once"),
        (("--prior", "mel=1,2"), "NAME=SHARE"),
        (("--prior", "mle=1"), "nearest: mel"),
        (("--prior", "mel=1"), "akiec, bcc"),
        (("--prior", "1,2"), "2 shares; akiec, bcc"),
        (("--prior", "1,1,1,1,-1,1,1"), "mel is -1"),
        (("--prior", "1,1,1,1,nan,1,1"), "mel is nan"),
        (("--prior", "1,1,1,1,1e999,1,1"), "mel is inf"),
        (("--prior", "mel=yes"), "'yes' is no number"),
        (("--out", "/proc/nowhere/x.csv"), "/proc/nowhere/x.csv"),
        (("--out", "/proc"), "/proc"),
        (("--out", ""), "is a folder"),
        (("--out", "/dev/null"), "/dev/null"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_rubbish_gets_one_sentence_and_code_2(predict, lesions, options, sentence):
    code, out, err = predict(lesions / "a.jpg", *options)
    assert (code, out) == (2, "")
    (line,) = err
    assert line.startswith("dermlens: ")
    assert sentence in line


def test_no_model(predict, lesions, tmp_path):
    code, _, (line,) = predict(lesions / "a.jpg", model=tmp_path / "nowhere")
    assert code == 2
    assert "model.json" in line


def test_an_image_twice_is_one(predict, lesions):
    code, out, _ = predict(lesions / "a.jpg", lesions / "a.jpg", "--json")
    assert code == 0
    assert [one["image_id"] for one in json.loads(out)["answers"]] == ["a"]


def test_the_answer_in_the_documentation_is_that_of_the_model_that_ships():
    root = Path(__file__).parents[2]
    (one,) = Predictor.open().predict(root / "src/dermlens/serve/page/examples/b.jpg")
    text = (root / "docs/predict.md").read_text(encoding="utf-8")
    assert "\n    ".join(("    b\n", *one.sentences)) in text
