"""Every item of both checklists has an answer, and the answers point at what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from calibrated import make_calibrated_run
from cards import sections, tables

from dermlens.report.card import card_text
from dermlens.report.checklists import CITATIONS, SECTION, checklist_section, checklists, reporting_page
from dermlens.report.run_data import RunData

ROOT = Path(__file__).parents[2]
EVERY = [(name, item) for name, items in checklists().items() for item in items]
NOT_ALWAYS = {"Out-of-distribution images", "Other sets", "Files"}
"""Headings that only what lies next to a run brings into its card; tests of those sections name them too."""


def test_every_item_is_there():
    found = checklists()
    assert set(found) == set(CITATIONS)
    assert [item.number for item in found["CLEAR Derm"]] == [str(number) for number in range(1, 26)]
    assert list(dict.fromkeys(item.section for item in found["CLEAR Derm"])) == [
        "Data",
        "Technique",
        "Technical assessment",
        "Application",
    ]
    numbers = [item.number for item in found["TRIPOD+AI"]]
    assert len(numbers) == len(set(numbers)) == 52
    assert list(dict.fromkeys(re.sub(r"\D", "", number) for number in numbers)) == [
        str(number) for number in range(1, 28)
    ]


@pytest.mark.parametrize(("name", "item"), EVERY, ids=[f"{name} {item.number}" for name, item in EVERY])
def test_an_item_is_answered(name, item):
    """By a place that is there, or by a sentence that says frankly that it is not done."""
    assert item.card or item.files or item.note.startswith(("Not done: ", "Not applicable: "))
    for file in item.files:
        assert (ROOT / file).is_file(), file
    assert "|" not in item.note


def test_headings_are_those_of_a_card(tmp_path):
    card = card_text(RunData(make_calibrated_run(tmp_path / "full", bootstrap=0)))
    named = {heading for _, item in EVERY for heading in item.card}
    assert named - NOT_ALWAYS <= set(sections(card))
    found = sections(card)[SECTION]
    for table, (name, items) in zip(tables(found), checklists().items(), strict=True):
        assert table["item"].tolist() == [item.number for item in items]
        assert (table["where"] != "").all()
        assert CITATIONS[name] in found


def test_a_heading_that_a_card_lacks_answers_nothing():
    card = checklist_section("# x\n\n## Limits\n")
    rows = tables(card)[0].set_index("item")["where"]
    assert rows["12"] == "not in this card"
    assert rows["13"].endswith("§ Limits")
    assert "§ Model" not in card


def test_the_page_is_made_of_the_same_source():
    page = (ROOT / "docs" / "reporting.md").read_text(encoding="utf-8")
    assert page == reporting_page()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page):
        assert (ROOT / "docs" / target).is_file(), target
