"""Every planned arm can exist, and is read from where its kind lies."""

from __future__ import annotations

import pandas as pd
import pytest

from dermlens.data.predictions import write_csv
from dermlens.errors import UserError
from dermlens.studies.folds import write_arm, write_images
from dermlens.studies.matrix import load_matrix
from paper.questions import load_questions, read_arms
from paper.readings import OTHER_METADATA
from paper.study import MATRICES

QUESTIONS = {question.name: question for question in load_questions()}


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_arm_of_a_contrast_is_trained_read_or_chosen(name):
    question = QUESTIONS[name]
    trained = set(load_matrix(MATRICES[question.folder]).arms)
    known = trained | set(OTHER_METADATA) | {"metadata_alone"} | set(question.best_of)
    assert set(question.arms) <= known
    assert {part for parts in question.best_of.values() for part in parts} <= trained
    assert all(question.words()[arm] for arm in question.arms)
    assert all(one.arm != one.reference for one in question.contrasts)


def test_every_arm_is_there_to_answer_a_question():
    """No arm is trained for nothing, but those that `best_of` chooses from."""
    for folder, matrix in MATRICES.items():
        asked = {arm for one in QUESTIONS.values() if one.folder == folder for arm in one.arms}
        parts = {part for one in QUESTIONS.values() for parts in one.best_of.values() for part in parts}
        assert set(load_matrix(matrix).arms) == (asked | parts) & set(load_matrix(matrix).arms)


def test_arms_readings_and_choices_are_read(predictions, tmp_path):
    folder = tmp_path / "questions"
    write_images(folder, predictions())
    rates = [f"adam_{kind}_{rate}" for kind in ("none", "new") for rate in ("low", "mid", "high")]
    for seed, arm in enumerate(["base", *rates]):
        write_arm(folder, arm, predictions(seed=seed))
    reading = predictions(seed=50)[["image_id", *(name for name in predictions() if name.startswith("p_"))]]
    write_csv(folder / "readings" / "given" / "given_nothing.csv.gz", reading, digits=5)
    weights = read_arms(tmp_path, QUESTIONS["weights"])
    assert set(weights) == {"base", *rates, "adam_new_best", "adam_none_best"}
    found = read_arms(tmp_path, QUESTIONS["given"])
    assert set(found) == {"base", "given_nothing"}
    assert found["given_nothing"]["p_mel"].to_numpy() == pytest.approx(reading["p_mel"].to_numpy(), rel=1e-4)
    pd.testing.assert_series_equal(found["given_nothing"]["target"], found["base"]["target"])
    assert read_arms(tmp_path / "nowhere", QUESTIONS["given"]) == {}
    write_csv(folder / "readings" / "given" / "given_nothing.csv.gz", reading[::-1], digits=5)
    with pytest.raises(UserError, match="is not of the images of"):
        read_arms(tmp_path, QUESTIONS["given"])
