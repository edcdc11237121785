"""One answer for a lesion over its images."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from saved_models import DECISION

from dermlens.predict.answers import answer_json, answer_of_json
from dermlens.predict.predictor import Predictor
from dermlens.predict.priors import named_prior


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
