"""An ablation as a page, a forest plot, and on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Group, RenderableType
from rich.table import Table

from dermlens.documents import flow
from dermlens.evaluation.transfer import Decision
from dermlens.records import NONE, estimate_text
from dermlens.report.plots import BLACK, legend_below, panels, run_mark, save_figure, title
from dermlens.studies.scores import OVERALL, Row, by_arm

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
    "rule": "Scaled, and named by a rule, both fitted on the other folds",  # of tables that 0.1.0 wrote
    "equal": "Scaled to equal class shares, as the other folds teach, the most probable class named",
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
    leaking = [name for name, arm in arms if arm["set"].get("paper.siblings") == "trained_on"]
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
        f"{matrix['folds']} folds of all lesions but those of the test role: {record['images']:,} images of "
        f"{record['lesions']:,} lesions, each scored once{by}; no setting is chosen on them.{apart} Each "
        f"training begins alike and sees about {matrix['images']:,} images (`{matrix['recipe']}`). "
        f"{intervals}\n\nMade by dermlens {record['versions']['dermlens']} on "
        f"{record['machine']['processor']}, {hours:.1f} hours of training. This page is generated from "
        "`ablation.json` and the predictions next to it."
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
        chosen = ", ".join(f"`{key}={flow(value)}`" for key, value in arm["set"].items()) or "–"
        lines.append(
            f"| {name} | {arm['tests']} | {chosen} | {facts['epochs']} | {facts['images_seen']:,}"
            f" | {facts['seconds'] / 60:.0f} |"
        )
    return "\n".join(lines)


def _command(matrix: Mapping[str, Any]) -> str:
    chosen = " ".join(f"--set '{key}={flow(value)}'" for key, value in matrix["set"].items())
    return (
        "Train and score, in as many sittings as it takes:\n\n```\n"
        f"dermlens study ablate {matrix['name']} --data DIR --out OUT {chosen}\n```\n\n"
        "Score again from the predictions here: `dermlens study ablate --rescore FOLDER`."
    )


# The differences of an ablation as a forest plot: a row an arm, a mark a decision.


DRAWN = {"mean_recall": "Mean recall", "recall_mel": "Melanoma recall", "accuracy": "Accuracy"}
WORDS = {"argmax": "highest probability", "rule": "decision rule", "equal": "equal shares"}


def save_differences(table: pd.DataFrame, baseline: str, path: Path) -> Path:
    """Draw and write the plot.

    Args:
        table: as `compare_arms` gives it.
        baseline: the arm at zero.
        path: .png or .svg.
    """
    return save_figure(draw_differences(table, baseline), path)


def draw_differences(table: pd.DataFrame, baseline: str) -> Figure:
    """A panel a metric, the arms from top to bottom in the order of the table."""
    metrics = {metric: words for metric, words in DRAWN.items() if metric in set(table["metric"])}
    arms = [arm for arm in table["arm"].unique() if arm != baseline]
    figure, axes = panels(len(metrics), height=(0.9 + 0.24 * max(len(arms), 1)) * len(metrics), width=7.2)
    for axis, (metric, words) in zip(axes, metrics.items(), strict=True):
        _panel(axis, table[table["metric"] == metric], arms)
        title(axis, f"{words}: difference to {baseline}")
    legend_below(figure, axes[0])
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, arms: list[str]) -> None:
    decisions = list(rows["decision"].unique())
    for index, decision in enumerate(decisions):
        found = rows[rows["decision"] == decision].set_index("arm").reindex(arms)
        color = run_mark(index).color
        places = [place + 0.14 * (2 * index - len(decisions) + 1) for place in range(len(arms))]
        axis.hlines(
            places,
            found["difference_low"],
            found["difference_high"],
            color=color,
            linewidth=1.6,
            gid="interval",
        )
        axis.plot(
            found["difference"], places, "os"[index % 2], color=color, markersize=4.5, linestyle="none",
            label=WORDS.get(decision, decision),
        )  # fmt: skip
    axis.axvline(0, color=BLACK, linewidth=0.9)
    axis.set_yticks(range(len(arms)), arms)
    axis.set_ylim(max(len(arms), 1) - 0.5, -0.5)
    axis.grid(False, axis="y")


# Studies as a person reads them on a terminal.


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
            table.add_row(
                f"recall {code} (n = {count})", *(estimate_text(one["recall"][code], 3) for one in found)
            )
        table.add_section()
        for name, words in OVERALL.items():
            table.add_row(words, *(estimate_text(one[name], 3) for one in found))
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
        table.add_row(f"{words}, larger classes", *(estimate_text(one[key], 3) for one in scored.values()))
    for key, words in (("auc", "AUC"), ("recall", "recall")):
        table.add_section()
        for code in next(iter(scored.values()), {"support": {}})["support"]:
            cells = [
                f"{estimate_text(one[key][code], 3)} (n = {one['support'][code]})"
                if one["support"][code]
                else "–"
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
    return estimate_text({"value": found["mean"], "low": found["low"], "high": found["high"]}, 3)


def render_ablation(rows: pd.DataFrame) -> RenderableType:
    """Arms by metrics with the paired differences, a table a decision."""
    parts = []
    for decision, found in rows.groupby("decision", sort=False):
        table = Table(title=DECISIONS.get(str(decision), str(decision)))
        table.add_column("arm")
        for words in SHOWN.values():
            table.add_column(words, justify="right")
        for arm, by_metric in by_arm(found).items():
            table.add_row(arm, *(_printed_cell(by_metric.get(metric)) for metric in SHOWN))
        parts.append(table)
    return Group(*parts)


def _printed_cell(row: Row | None) -> str:
    """A value, and in brackets its difference to the baseline, starred where the interval leaves zero out."""
    if row is None or math.isnan(row["value"]):
        return "–"
    if math.isnan(row["difference"]):
        return f"{row['value']:.3f}"
    clear = "*" if row["difference_low"] > 0 or row["difference_high"] < 0 else ""
    return f"{row['value']:.3f} ({row['difference']:+.3f}{clear})"
