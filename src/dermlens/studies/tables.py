"""Studies as a person reads them on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table

from dermlens.evaluation.tables import estimate
from dermlens.studies.ablation_page import DECISIONS, SHOWN
from dermlens.studies.arms import Row, by_arm
from dermlens.studies.scores import OVERALL


def render_study(facts: Mapping[str, Any]) -> RenderableType:
    """The scores of a cross-fit or an ensemble: a table a role, a column a decision, recalls first."""
    parts = []
    for role, scored in facts["roles"].items():
        table = Table(title=f"{role}: {scored['images']} images of {scored['lesions']} lesions")
        table.add_column("")
        for decision in scored["decisions"]:
            table.add_column(DECISIONS.get(decision, decision), justify="right")
        found = scored["decisions"].values()
        for code, count in scored["support"].items():
            table.add_row(f"recall {code} (n = {count})", *(estimate(one["recall"][code]) for one in found))
        table.add_section()
        for name, words in OVERALL.items():
            table.add_row(words, *(estimate(one[name]) for one in found))
        parts.append(table)
    return Group(*parts)


def render_ablation(rows: pd.DataFrame) -> RenderableType:
    """Arms by metrics with the paired differences, a table a decision."""
    parts = []
    for decision, found in rows.groupby("decision", sort=False):
        table = Table(title=DECISIONS.get(str(decision), str(decision)))
        table.add_column("arm")
        for words in SHOWN.values():
            table.add_column(words, justify="right")
        for arm, by_metric in by_arm(found).items():
            table.add_row(arm, *(_cell(by_metric.get(metric)) for metric in SHOWN))
        parts.append(table)
    return Group(*parts)


def _cell(row: Row | None) -> str:
    """A value, and in brackets its difference to the baseline, starred where the interval leaves zero out."""
    if row is None or math.isnan(row["value"]):
        return "–"
    if math.isnan(row["difference"]):
        return f"{row['value']:.3f}"
    clear = "*" if row["difference_low"] > 0 or row["difference_high"] < 0 else ""
    return f"{row['value']:.3f} ({row['difference']:+.3f}{clear})"
