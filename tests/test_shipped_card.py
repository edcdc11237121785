"""The card of the model that ships says what the committed predictions say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from cards import check_card, sections

from dermlens.evaluation.ledger import run_openings
from dermlens.predict.document import read_document
from dermlens.predict.model_files import read_measured, write_measured
from dermlens.report.card import card_text
from dermlens.report.run_data import RunData
from dermlens.runs import Run

ROOT = Path(__file__).parents[1]
PUBLISHED = ROOT / "docs" / "results" / "shipped_model"
SHIPPED = ROOT / "src" / "dermlens" / "shipped"
CARDS = [SHIPPED / "MODEL_CARD.md", PUBLISHED / "model_card.md"]
SCORED = (
    "Recall per class", "Recall in groups of patients", "Calibration", "Operating points",
    "Sets and abstention", "Known failures",
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    not (PUBLISHED / "predictions.csv.gz").is_file(),
    reason="docs/results/shipped_model is not there: `dermlens model publish RUN --out DIR` makes it",
)


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_numbers_are_recomputed(path):
    """By pandas and scikit-learn, from the predictions alone."""
    predictions = pd.read_csv(PUBLISHED / "predictions.csv.gz", keep_default_na=False, na_values={"age": ""})
    decision = read_document(SHIPPED / "model.json").decision
    assert check_card(path.read_text(encoding="utf-8"), predictions, decision) == set(SCORED)


@pytest.fixture(scope="module")
def again(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The sections of a card that is made anew; that the scores are right, test_published_results shows."""
    run = Run(shutil.copytree(PUBLISHED, tmp_path_factory.mktemp("again") / "run"))
    return sections(card_text(RunData(run)))


@pytest.mark.parametrize("heading", SCORED)
@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_sections_are_made_again(path, heading, again):
    """Intervals and words too."""
    assert sections(path.read_text(encoding="utf-8"))[heading] == again[heading]


def test_the_page_shows_what_the_published_predictions_say(tmp_path):
    limits = sections((SHIPPED / "MODEL_CARD.md").read_text(encoding="utf-8"))["Limits"]
    lacks = [line.removeprefix("- ") for line in limits.splitlines() if line.startswith("- ")]
    run = Run(PUBLISHED)
    write_measured(run.metrics.roles["test"], "test", lacks, tmp_path, looks=run_openings(run).to_json())
    assert read_measured(tmp_path) == read_measured(SHIPPED)


def test_the_published_decision_is_the_shipped_one():
    assert Run(PUBLISHED).decision() == read_document(SHIPPED / "model.json").decision
