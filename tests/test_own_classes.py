"""Someone's own classes: called what a recipe calls them, and malignant where it says so, everywhere."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from dermlens.data.predictions import write_predictions
from dermlens.errors import UserError
from dermlens.evaluation.detection import sought_recall
from dermlens.evaluation.score import score
from dermlens.files import write_json
from dermlens.labels import Vocabulary
from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.models.saved import SavedModel, load_model, save_model
from dermlens.predict.metadata import make_encoder
from dermlens.recipe import load_recipe, parse_recipe
from dermlens.report.gallery import worst_errors
from dermlens.report.page import write_report
from dermlens.runs import Run
from dermlens.sections import EvaluationConfig

OWN = """
data:
  classes:
    Melanom: {malignant: true, name: malignant melanoma}
    Naevus: {name: mole}
    Warze:
"""
CODES = ("Melanom", "Naevus", "Warze")


def predictions(images=240):
    rng = np.random.default_rng(0)
    target_N = np.arange(images) % 3
    p_NC = rng.dirichlet([1, 1, 1], images) + 1.2 * np.eye(3)[target_N] * rng.random((images, 1))
    p_NC /= p_NC.sum(axis=1, keepdims=True)
    return pd.DataFrame(
        {
            "image_id": [f"I{row:04d}" for row in range(images)],
            "lesion_id": [f"L{row // 2:04d}" for row in range(images)],
            "role": np.where(np.arange(images) // 2 % 2 == 0, "selection", "calibration"),
            "target": [CODES[index] for index in target_N],
            **{f"p_{code}": p_NC[:, index] for index, code in enumerate(CODES)},
            "age": 50.0,
            "sex": "female",
            "site": "back",
            "dx_type": "histo",
        }
    )


def test_a_mapping_gives_codes_and_facts_and_comes_back(tmp_path):
    recipe = parse_recipe(OWN, "here")
    assert recipe.data.classes == CODES
    assert recipe.data.facts["Melanom"] == {"name": "malignant melanoma", "malignant": True}
    recipe.save(tmp_path / "recipe.yaml")
    assert load_recipe(str(tmp_path / "recipe.yaml")).data == recipe.data
    short = parse_recipe("{}", "here", ["data.classes={Melanom: {malignant: true}, Naevus: {}}"])
    assert short.data.facts["Melanom"]["malignant"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("data: {classes: {a: {malignent: true}, b: {}}}", "malignent"),
        ("data: {classes: {a: yes please, b: {}}}", "described"),
        ("data: {classes: [a, b], described: {c: {malignant: true}}}", "c"),
    ],
)
def test_mistakes_are_named(text, named):
    with pytest.raises(UserError, match=named):
        parse_recipe(text, "here")


def test_a_list_stays_a_list():
    plain = Vocabulary(parse_recipe("data: {classes: [a, b]}", "here").data.classes)
    assert (plain.malignant, plain.sought, plain.name("a")) == ((), (), "a")
    seven = Vocabulary(parse_recipe("{}", "here").data.classes)
    assert (seven.sought, seven.sought_group) == (("mel",), "melanoma")


@pytest.fixture
def scored():
    facts = parse_recipe(OWN, "here").data.facts
    return score(predictions(), CODES, EvaluationConfig(bootstrap=20), described=facts)


def test_what_is_said_to_be_malignant_is_sought(scored):
    rows = predictions()
    rows = rows[rows["role"] == "calibration"]
    named = rows[[f"p_{code}" for code in CODES]].to_numpy().argmax(axis=1)
    recall = np.mean(named[rows["target"] == "Melanom"] == 0)
    calibration = scored["roles"]["calibration"]
    found = calibration["detection"]["malignant"]
    assert found["classes"] == ["Melanom"]
    assert found["positives"] == (rows["target"] == "Melanom").sum()
    assert found["recall"]["value"] == pytest.approx(recall)
    assert sought_recall(calibration)["value"] == pytest.approx(recall)
    assert found["operating_points"][0]["threshold_role"] == "selection"


def test_misses_of_it_come_first_in_the_gallery():
    facts = parse_recipe(OWN, "here").data.facts
    first = worst_errors(predictions(), Vocabulary(CODES, facts))[0]
    assert {case.target for case in first.cases} == {"Melanom"}
    assert "Melanom" not in {case.named for case in first.cases}


def test_the_report_calls_it_by_its_name(scored, tmp_path):
    run = Run.create(tmp_path / "run", parse_recipe(OWN, "here", ["evaluation.bootstrap=20"]))
    write_predictions(run.predictions_file, predictions())
    write_json(run.metrics_file, scored)
    run.end("completed")
    page = write_report(run).read_text(encoding="utf-8")
    card = (run.path / "model_card.md").read_text(encoding="utf-8")
    for text in (page, card):
        assert "images of malignant melanoma, the model named" in text
        assert "mole" in text
    assert "malignant melanoma recall" in card
    assert "hold no melanoma" not in page


def test_the_page_takes_names_and_numbers_from_the_model():
    """Nothing in it counts the classes, or says of every role that its pictures were new to the model."""
    page = files("dermlens.serve.page")
    text = (page / "index.html").read_text(encoding="utf-8") + (page / "page.js").read_text(encoding="utf-8")
    assert "seven" not in text
    assert "never seen" not in text
    assert "model.malignant" in text
    assert "test_openings" in text


def test_it_travels_with_the_model(tmp_path):
    config = ModelConfig(backbone="mobilenet_v3_small", weights="none", metadata="none", attention="none")
    facts = parse_recipe(OWN, "here").data.facts
    encoder = make_encoder("none")
    model = build_classifier(config, num_classes=3, meta_width=0, size=64)
    save_model(tmp_path, SavedModel(model, config, CODES, 64, "center", encoder, described=facts))
    found = load_model(tmp_path).vocabulary
    assert found.name("Melanom") == "malignant melanoma"
    assert (found.malignant, found.sought_group) == (("Melanom",), "malignant")
