"""The page of an ablation: what was asked, the tables, how they were made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from dermlens.evaluation.report.numbers import NONE
from dermlens.studies.arms import by_arm
from dermlens.studies.matrix import SIBLINGS

SHOWN = {
    "mean_recall": "mean recall",
    "recall_mel": "melanoma recall",
    "accuracy": "accuracy",
    "macro_auc": "macro AUC",
    "ece": "ECE",
    "log_loss": "log loss",
}
DECISIONS = {
    "argmax": "The highest probability, as it comes",
    "rule": "Scaled, and named by a rule, both fitted on the other folds",
}


def render_page(record: Mapping[str, Any], table: pd.DataFrame) -> str:
    """The page as Markdown.

    Args:
        record: the content of ablation.json.
        table: as `compare_arms` gives it.
    """
    matrix = record["matrix"]
    parts = [f"# Ablation: {matrix['name']}", matrix["about"].strip(), _how(record)]
    if record["missing"]:
        absent = ", ".join(record["missing"])
        parts.append(f"**Named in advance and not trained, so not in the tables: {absent}.**")
    parts.append("![differences to the baseline](differences.png)")
    for decision, rows in table.groupby("decision", sort=False):
        parts += [f"## {DECISIONS.get(str(decision), str(decision))}", _table(rows, signed=False)]
        parts += [f"Difference to `{matrix['baseline']}`, paired:", _table(rows, signed=True)]
    parts += ["## The arms", _arms(record), "## Again", _command(matrix)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _how(record: Mapping[str, Any]) -> str:
    matrix, bootstrap = record["matrix"], record["bootstrap"]
    hours = sum(arm["seconds"] for arm in record["arms"].values()) / 3600
    intervals = (
        f"Intervals: {bootstrap['level']:.0%}, {bootstrap['bootstrap']:,} resamples of lesions within"
        " classes; they say what other images, not what another seed of the training, would change."
    )
    arms = matrix["arms"].items()
    peeking = [name for name, arm in arms if arm.get("peeks")]
    leaking = [name for name, arm in arms if arm["set"].get(SIBLINGS) == "trained_on"]
    clean = [] if leaking else ["was not trained on its lesion"]
    clean += [] if peeking else ["has no epoch chosen on it"]
    by = f", by a network that {' and '.join(clean)}" if clean else ""
    apart = "".join(
        f" On purpose, {what} in {', '.join(names)}, and in no other arm."
        for what, names in (
            ("other images of the scored lesions are trained on", leaking),
            ("the epoch is chosen on the scored images", peeking),
        )
        if names
    )
    return (
        f"{matrix['folds']} folds of all lesions but those of the test role: {record['images']:,} images of"
        f" {record['lesions']:,} lesions, each scored once{by}; no setting"
        f" is chosen on them.{apart} Each training begins alike and sees about"
        f" {matrix['images']:,} images (`{matrix['recipe']}`). {intervals}\n\n"
        f"Made by dermlens {record['versions']['dermlens']} on {record['machine']['processor']},"
        f" {hours:.1f} hours of training. This page is generated from"
        " `ablation.json` and the predictions beside it."
    )


def _table(rows: pd.DataFrame, *, signed: bool) -> str:
    """Arms by metrics; signed, their differences to the baseline."""
    places = ("difference", "difference_low", "difference_high") if signed else ("value", "low", "high")
    found = by_arm(rows)
    shown = {metric: words for metric, words in SHOWN.items() if any(metric in of for of in found.values())}
    lines = [f"| arm | {' | '.join(shown.values())} |", f"|---|{'---|' * len(shown)}"]
    for arm, by_metric in found.items():
        cells = [_cell(*(by_metric[metric][place] for place in places), signed=signed) for metric in shown]
        if set(cells) != {NONE}:  # the baseline does not differ from itself
            lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float, low: float, high: float, *, signed: bool) -> str:
    form = "+.3f" if signed else ".3f"
    if math.isnan(value):
        return NONE
    return f"{value:{form}}" if math.isnan(low) else f"{value:{form}} [{low:{form}}, {high:{form}}]"


def _arms(record: Mapping[str, Any]) -> str:
    lines = ["| arm | tests | set | epochs | images | minutes |", "|---|---|---|---|---|---|"]
    for name, facts in record["arms"].items():
        arm = record["matrix"]["arms"][name]
        chosen = ", ".join(f"`{key}={_flow(value)}`" for key, value in arm["set"].items()) or "–"
        lines.append(
            f"| {name} | {arm['tests']} | {chosen} | {facts['epochs']} | {facts['images_seen']:,}"
            f" | {facts['seconds'] / 60:.0f} |"
        )
    return "\n".join(lines)


def _command(matrix: Mapping[str, Any]) -> str:
    chosen = " ".join(f"--set '{key}={_flow(value)}'" for key, value in matrix["set"].items())
    return (
        "Train and score, in as many sittings as it takes:\n\n```\n"
        f"dermlens ablate {matrix['name']} --data DIR --out OUT {chosen}\n```\n\n"
        "Score again from the predictions here: `dermlens ablate --rescore FOLDER`."
    )


def _flow(value: Any) -> str:
    """A value on one line, as `--set` takes it."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.removesuffix("...\n").strip()
