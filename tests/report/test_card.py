"""The model card: the run's numbers, what the model is not for, and where its data end."""

from __future__ import annotations

import json

import pytest
from calibrated import make_calibrated_run
from cards import sections, tables

from dermlens.errors import UserError
from dermlens.labels import full_name
from dermlens.recipe import parse_recipe
from dermlens.report.card import card_text, write_card
from dermlens.report.run_data import RunData
from dermlens.runs import Run


@pytest.fixture(scope="module")
def card(fake_run: Run) -> str:
    return write_card(fake_run).read_text(encoding="utf-8")


def section(card: str, heading: str) -> str:
    return card.split(f"## {heading}\n")[1].split("\n## ")[0]


def test_sections_stand_in_order(card: str):
    headings = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "Model", "Recall per class", "Recall in groups of patients", "Operating points", "Known failures",
        "What the numbers mean", "Data", "Intended use", "Not intended", "Limits", "How it was made",
    ]  # fmt: skip
    assert card.startswith("# pretend\n")
    assert "not a medical device" in card.split("## Model")[0]


def test_sections_of_a_calibrated_run_stand_in_order(tmp_path):
    card = write_card(make_calibrated_run(tmp_path / "run", bootstrap=0)).read_text(encoding="utf-8")
    headings = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "Model", "Recall per class", "Recall in groups of patients", "Calibration", "Operating points",
        "Sets and abstention", "Known failures", "What the numbers mean", "Data", "Intended use",
        "Not intended", "Limits", "How it was made", "Reporting checklists",
    ]  # fmt: skip
    assert "\n\n\n" not in card
    assert "None" not in card


def test_recall_of_every_class_stands_before_accuracy(card: str, fake_run: Run):
    rows = [line for line in section(card, "Recall per class").splitlines() if line.startswith("|")]
    per_class = fake_run.metrics.roles["calibration"]["per_class"]
    assert len(rows) == 2 + len(per_class)
    for row, (code, scores) in zip(rows[2:], per_class.items(), strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        recall = scores["recall"]
        interval = f"{recall['value']:.2f} [{recall['low']:.2f}–{recall['high']:.2f}]"
        assert cells[:4] == [code, full_name(code), str(scores["support"]), interval]
    assert card.index("| class |") < card.lower().index("accuracy")


def test_limits_and_uses(card: str):
    assert "no label of skin tone" in section(card, "Limits")
    assert "whatever it takes for dermoscopy" in section(card, "Limits")
    assert "Deciding anything about a person" in section(card, "Not intended")
    assert "CC BY-NC 4.0" in section(card, "Data")


def test_how_it_was_made(card: str):
    made = section(card, "How it was made")
    assert "seed 0" in made
    assert "- torch 2." in made
    assert "Trainable parameters: 1,234,567." in section(card, "Model")
    assert "melanoma), nv (melanocytic nevus), vasc (vascular lesion)." in section(card, "Model")


def test_the_recipe_is_in_the_card(card, fake_run):
    made = section(card, "How it was made")
    text = made.split("```yaml\n")[1].split("```")[0]
    assert parse_recipe(text, "the card") == fake_run.recipe


def test_a_fence_is_longer_than_any_in_the_recipe(new_run, tmp_path):
    run = new_run(tmp_path / "x", images=60, bootstrap=0)
    recipe = run.recipe.model_dump(mode="json") | {"name": "x"}
    recipe["data"]["also_train"] = ["a````b"]
    parse_recipe(json.dumps(recipe), "here").save(run.recipe_file)
    assert "\n`````yaml\n" in write_card(run).read_text(encoding="utf-8")


def test_no_path_of_this_machine_is_in_the_card(new_run, tmp_path):
    facts = {
        "data": "/secret/ham10000",
        "command": ["train", "/secret/r.yaml", "--data", "/secret/ham10000"],
        "also_train": {"images": 2744, "folders": ["/secret/isic2017"]},
    }
    run = new_run(tmp_path / "x", images=60, bootstrap=0, **facts)
    settings = ("model.weights=/secret/w.h5", "data.also_train=[/secret/isic2017]")
    parse_recipe(run.recipe.dump(), "here", settings).save(run.recipe_file)
    card = write_card(run).read_text(encoding="utf-8")
    assert "secret" not in card
    assert "started from `w.h5`" in card
    assert "2,744 more images, of isic2017" in section(card, "Data")


def test_palms_and_soles_are_counted_in_the_whole_table(fake_run, drawn):
    predictions = drawn(50, ("calibration",)).assign(site=["acral"] * 3 + ["back"] * 47)
    found = RunData(fake_run)
    found.images = predictions
    text = card_text(found)
    assert "Of 50 images, 3 " in section(text, "Limits")
    assert "palms or soles" not in section(card_text(RunData(fake_run)), "Limits")


def test_who_is_in_the_data(card, fake_run):
    counts, people = tables(sections(card)["Data"])
    assert counts.set_index("class").loc["mel", "train"] == str(fake_run.read_record().counts["train"]["mel"])
    assert {"images", "without an age", "sex female"} <= set(people["measure"])


def test_synthetic_data_are_called_so(new_run, drawn, tmp_path):
    run = new_run(tmp_path / "syn", predictions=drawn(80, ("calibration",), prefix="SYN"), bootstrap=0)
    card = write_card(run).read_text(encoding="utf-8")
    assert "synthetic drawings" in card.split("## Model")[0]
    assert "CC BY-NC" not in card


def test_names_cannot_break_the_card(new_run, tmp_path):
    run = new_run(tmp_path / "x", images=60, bootstrap=0, git_commit="<script>", versions={"a|b": "1\n# x"})
    card = write_card(run).read_text(encoding="utf-8")
    assert "a\\|b" in card
    assert "<script>" not in card
    assert "\n# x" not in card


def test_an_unevaluated_run_has_no_card(new_run, tmp_path):
    run = new_run(tmp_path / "r", images=60, bootstrap=0)
    run.metrics_file.unlink()
    with pytest.raises(UserError, match="no metrics yet"):
        write_card(run)
