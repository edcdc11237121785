"""Studies as a person reads them on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table

from dermlens.evaluation.tables import estimate
from dermlens.evaluation.transfer import Decision
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
        if over := scored.get("folds"):
            table.add_section()
            folds = [over[decision] for decision in scored["decisions"]]
            for name, words in OVERALL.items():
                table.add_row(f"{words}, mean of the folds", *(_of_folds(one[name]) for one in folds))
            for code in scored["support"]:
                cells = (_of_folds(one["recall"][code]) for one in folds)
                table.add_row(f"recall {code}, mean of the folds", *cells)
        parts.append(table)
    return Group(*parts)


def render_by_source(facts: Mapping[str, Any]) -> RenderableType:
    """A cross-fit by source: a column a left-out source."""
    table = Table(title="sources left out, at equal class shares")
    table.add_column("")
    scored = facts["sources"]
    for source, one in scored.items():
        table.add_column(f"{source}\n{one['images']} images of {one['lesions']} lesions", justify="right")
    loss = {source: one["log_loss"] for source, one in scored.items()}
    table.add_row("log loss ± standard error", *(_with_error(loss[source]) for source in scored))
    for key, words in (("macro_auc", "macro AUC"), ("mean_recall", "mean recall")):
        table.add_row(f"{words}, larger classes", *(estimate(one[key]) for one in scored.values()))
    for key, words in (("auc", "AUC"), ("recall", "recall")):
        table.add_section()
        for code in next(iter(scored.values()), {"support": {}})["support"]:
            cells = [
                f"{estimate(one[key][code])} (n = {one['support'][code]})" if one["support"][code] else "–"
                for one in scored.values()
            ]
            table.add_row(f"{words} {code}", *cells)
    parts: list[RenderableType] = [table]
    if "log_loss" in facts:
        parts.append(f"log loss, mean over the sources: {_with_error(facts['log_loss'])}")
    return Group(*parts)


def render_decision(names: tuple[str, str], decision: Decision) -> RenderableType:
    """A candidate less a baseline, source by source."""
    table = Table(title=f"{names[0]} less {names[1]}: log loss at equal class shares, paired by lesion")
    table.add_column("left out")
    table.add_column("difference ± standard error", justify="right")
    for source, one in (*decision.sources.items(), ("mean", decision.mean)):
        table.add_row(source, f"{one.value:+.4f} ± {one.error:.4f}")
    holds = "no more than" if decision.worst_holds else "more than"
    return Group(table, f"worst: {decision.worst}, which falls by {holds} one standard error")


def _with_error(found: Mapping[str, float]) -> str:
    return f"{found['value']:.3f} ± {found['error']:.3f}"


def _of_folds(found: Mapping[str, Any]) -> str:
    """The mean over folds with Student's interval."""
    return estimate({"value": found["mean"], "low": found["low"], "high": found["high"]})


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
