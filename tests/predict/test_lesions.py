"""One answer for a lesion over its images."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from saved_models import DECISION

from dermlens.errors import UserError
from dermlens.predict.answers import answer_json, answer_of_json
from dermlens.predict.patients import read_patients
from dermlens.predict.predictor import Predictor
from dermlens.predict.priors import named_prior
from dermlens.predict.sources.folders import file_ids


@pytest.fixture(scope="module")
def predictor(exported) -> Predictor:
    return Predictor.open(exported)


@pytest.fixture(scope="module")
def answers(predictor, lesions):
    return predictor.predict([lesions / name for name in ("a.jpg", "b.png", "c.JPG")])


def test_log_probabilities_are_averaged(predictor, answers):
    mean_C = np.exp(np.mean([np.log(list(one.p.values())) for one in answers], axis=0))
    found = predictor.lesion(answers, "lesion")
    np.testing.assert_allclose(list(found.p.values()), mean_C / mean_C.sum())
    assert found.ood == pytest.approx(np.mean([one.ood for one in answers]))
    assert (found.image_id, found.images) == ("lesion", tuple(one.image_id for one in answers))
    assert found.diagnosis == max(found.p, key=found.p.get)


def test_no_case_mix_moves_its_suspicion(predictor, lesions):
    files = [lesions / "a.jpg", lesions / "b.png"]
    equal = named_prior("equal", predictor.classes)
    one = predictor.lesion(predictor.predict(files), "x")
    other = predictor.lesion(predictor.predict(files, prior="equal"), "x", equal)
    assert (one.suspicion, one.melanoma, one.flagged) == (other.suspicion, other.melanoma, other.flagged)
    assert one.p != other.p


def test_one_image_answers_as_it_does_alone_and_what_is_withheld_has_no_part(predictor, answers):
    first = answers[0]
    nothing = dict.fromkeys(("p", "diagnosis", "set", "suspicion", "melanoma", "flagged", "score"))
    withheld = replace(answers[1], state="withheld", reason="image quality: too few pixels", **nothing)
    found = predictor.lesion([first, withheld], "lesion")
    assert found.p == pytest.approx(first.p)
    assert (found.state, found.flagged, found.set) == (first.state, first.flagged, first.set)
    assert predictor.lesion([withheld], "lesion").withheld


def test_an_answer_comes_back_from_json(answers):
    for one in answers:
        content = json.loads(json.dumps(answer_json(one)))
        assert answer_of_json(content, one.score, one.image_id) == one


def test_a_table_that_names_lesions_gives_an_answer_each(dermlens, exported, lesions, tmp_path):
    table = tmp_path / "lesions.csv"
    table.write_text("image_id,lesion_id,age\na,one,50\nb,two,\nc,one,50\n")
    with pytest.warns(UserWarning, match=r"no row.*1 of 4"):
        found = Predictor.open(exported).predict(lesions, table=table)
    expected = [("one", ("a", "c")), ("two", ("b",)), ("d", ("d",))]
    assert [(one.image_id, one.images) for one in found] == expected
    code, out, _ = dermlens("predict", lesions, "--table", table, "--model", exported, "--json")
    assert code == 0
    output = json.loads(out)["answers"]
    assert [one["lesion_id"] for one in output] == [one.image_id for one in found]
    assert [one["p"] for one in output] == [pytest.approx(one.p) for one in found]
    assert output[0]["level"] == 1 - DECISION.sets.alpha
    code, _, _ = dermlens(
        "predict", lesions, "--table", table, "--model", exported, "--out", tmp_path / "out.json"
    )
    assert json.loads((tmp_path / "out.json").read_text())["answers"] == output


def lesions_in(tmp_path, text, *names, columns=None):
    """The images of each lesion, as a table of `names` says."""
    table = tmp_path / "patients.csv"
    table.write_text(text, encoding="utf-8")
    images = dict(zip(file_ids(names, ""), map(Path, names), strict=True))
    found: dict[str, list[str]] = {}
    for image_id, lesion in read_patients(table, images, columns).lesion_of.items():
        found.setdefault(lesion, []).append(image_id)
    return sorted(found.values())


FILES = ("/a.jpg", "/b.jpg", "/c.jpg", "/d.jpg")


def test_lesions_of_two_patients_are_two_whatever_both_are_called(tmp_path):
    """A clinic counts each patient's lesions from one."""
    column = "image_id,patient_id,lesion_id\na,P1,1\nb,P2,1\nc,P1,1\nd,P1,2\n"
    assert lesions_in(tmp_path, column, *FILES) == [["a", "c"], ["b"], ["d"]]
    names = "image_id,lesion_id\nPAT_1_a,1\nPAT_2_b,1\nPAT_1_c,1\n"
    found = lesions_in(tmp_path, names, "/PAT_1_a.jpg", "/PAT_2_b.jpg", "/PAT_1_c.jpg")
    assert found == [["PAT_1_a", "PAT_1_c"], ["PAT_2_b"]]
    folders = "image_id,lesion_id\nu,1\nv,1\nw,1\n"
    files = "/x/patient_1/u.jpg", "/x/patient_2/v.jpg", "/x/patient_1/w.jpg"
    assert lesions_in(tmp_path, folders, *files) == [["u", "w"], ["v"]]


def test_columns_that_only_together_name_a_lesion_are_joined(tmp_path):
    table = "image_id,fall,nr\na,7,1\nb,8,1\nc,7,1\nd,7,\n"
    found = lesions_in(tmp_path, table, *FILES, columns={"lesion_id": "fall+nr"})
    assert found == [["a", "c"], ["b"], ["d"]]


def test_a_word_for_nothing_known_names_no_lesion_and_one_lesion_may_be_spelled_in_two_ways(tmp_path):
    table = "image_id,lesion_id\na,unknown\nb,unknown\nc,IL_1\nd,il_1 \n"
    assert lesions_in(tmp_path, table, *FILES) == [["a"], ["b"], ["c", "d"]]
    numbers = "image_id,lesion_id\na,3.0\nb,\nc,3\nd,NA\n"
    assert lesions_in(tmp_path, numbers, *FILES) == [["a", "c"], ["b"], ["d"]]


@pytest.mark.parametrize("rows", ["1,7\n2,3\n3,\n", "1,7\n2,3\n"], ids=["no lesion", "no row"])
def test_an_image_by_itself_whose_name_is_a_lesion_of_other_images_is_refused(rows, tmp_path):
    with pytest.raises(UserError, match=r"image 3\b.*lesion"):
        lesions_in(tmp_path, f"image_id,lesion_id\n{rows}", "/1.jpg", "/2.jpg", "/3.jpg")


def test_a_lesion_id_with_a_control_character_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"row 2.*control"):
        lesions_in(tmp_path, "image_id,lesion_id\na,\x1b[31mx\n", *FILES)


def test_what_was_written_is_counted_in_lesions_and_a_lesion_is_shown_with_its_images(
    dermlens, exported, lesions, tmp_path
):
    table, out = tmp_path / "lesions.csv", tmp_path / "out.csv"
    table.write_text("image_id,lesion_id\na,one\nb,two\nc,one\nd,one\n")
    command = ("predict", lesions, "--table", table, "--model", exported)
    shown = dermlens(*command, "--out", out)[1]
    with out.open(newline="", encoding="utf-8") as file:
        states = Counter(row["state"] for row in csv.DictReader(file))
    (counted,) = re.findall(
        r"out.csv, (\d+) lesions; uncertain: (\d+), withheld: (\d+)", " ".join(shown.split())
    )
    assert tuple(map(int, counted)) == (2, states["uncertain"], states["withheld"])
    table.write_text("image_id,lesion_id\na,one\nb,one\nc,one\nd,one\n")
    assert "one: lesion of 4 images (a, b, c, d)" in dermlens(*command)[1]
