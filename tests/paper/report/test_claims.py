"""The first page and docs/paper.md: printed cells, planned comparisons, the numbers of the tables."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from paper.questions import load_questions, name_of
from paper.report.answers import read_attention
from paper.report.cells import Measured, read_cells
from paper.report.claims import answer_claims, load_claims

ROOT = Path(__file__).parents[3]
PUBLISHED = ROOT / "docs" / "results" / "paper"
DOCUMENT = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
CELLS = read_cells(Measured({}, {}, {}, {}, {}), 996)


def contrast(arm, reference, difference, verdict):
    return {
        "arm": arm, "reference": reference, "difference": difference, "low": difference - 0.01,
        "high": difference + 0.01, "verdict": verdict,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "verdict", "outcome"),
    [(0.03, "gains", "higher"), (-0.03, "loses", "lower"), (0.03, "inconclusive", "open")],
)
def test_the_verdict_follows_the_comparison(difference, verdict, outcome):
    rows = pd.DataFrame([contrast("base", "no_attention", difference, verdict)])
    found = {one["claim"]: one for one in answer_claims(CELLS, rows, {}, {})}
    claim = next(one for one in load_claims() if one.contrast == ("base", "no_attention"))
    own = found[claim.claim]
    assert (own["outcome"], own["verdict"]) == (outcome, getattr(claim, outcome))
    assert own["difference"] == pytest.approx(100 * difference)
    others = [one for one in found.values() if one["claim"] != claim.claim]
    assert all(one["difference"] is None and one["outcome"] == "open" for one in others)


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(31, 40, "higher"), (17, 21, "lower"), (25, 35, "open")]
)
def test_a_time_decides_only_what_its_turns_agree_on(low, high, outcome):
    latency = {"inception_resnet_v2-md": {"ratio": (low + high) / 2, "low": low, "high": high}}
    found = answer_claims(CELLS, pd.DataFrame(columns=["arm", "reference"]), {}, {}, latency)
    [claim] = [one for one in load_claims() if one.latency is not None]
    [own] = [one for one in found if one["claim"] == claim.claim]
    assert (own["outcome"], own["verdict"]) == (outcome, getattr(claim, outcome))
    assert f"[{low}–{high}]" in own["found"]


def test_claims_rest_on_printed_cells_and_planned_comparisons():
    planned = {(one.arm, one.reference) for question in load_questions() for one in question.contrasts}
    printed = {(cell.table, cell.row, cell.column): cell.printed for cell in CELLS}
    for claim in load_claims():
        assert claim.contrast is None or claim.contrast in planned
        assert all(printed[cell] for cell in claim.cells)


def test_every_arm_has_a_name_of_its_own():
    arms = {arm for question in load_questions() for arm in question.arms}
    names = {name_of(arm) for arm in arms}
    assert len(names) == len(arms)
    assert not any("_" in name for name in names)


def test_the_document_is_plain():
    """No table row beyond 300 characters, and a claim is one screen of 50 lines."""
    assert max(len(line) for line in DOCUMENT.splitlines() if line.startswith("|")) <= 300
    assert max(len(section.splitlines()) for section in DOCUMENT.split("\n## ")) <= 50


def test_every_difference_in_the_document_is_in_the_tables():
    tables = [
        pd.read_csv(PUBLISHED / "report" / "tables" / f"{name}.csv") for name in ("contrasts", "afterwards")
    ]
    rows = pd.concat(tables)[["difference", "low", "high"]].to_numpy().tolist()
    for table in read_attention(PUBLISHED).values():
        rows += table[["value", "low", "high"]].to_numpy().tolist()
    known = {tuple(f"{100 * number:.1f}".replace("-0.0", "0.0") for number in row) for row in rows}
    stated = re.findall(r"([+−]?\d+\.\d) \[([+−]?\d+\.\d), ([+−]?\d+\.\d)\]", DOCUMENT)
    assert len(stated) > 35
    plain = [tuple(number.replace("−", "-").lstrip("+") for number in one) for one in stated]
    assert [one for one in plain if one not in known] == []
