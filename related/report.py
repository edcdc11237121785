"""The report: table.csv, a figure, and index.md, from what is published; what is not yet run is listed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from dermlens.data.predictions import write_csv
from dermlens.files import write_text
from dermlens.report.plots import BLACK, panels, run_mark, save_figure, title
from dermlens.sections import EvaluationConfig
from paper.study import read_record
from related.plan import RUNS
from related.publication import read_published
from related.study import Study, System
from related.table import MALIGNANT, MISSED, SHOWN, WRONG, table_of

TABLE, PAGE, FIGURE = "table.csv", "index.md", "mean_recall.png"
DIGITS = 6


def write_report(study: Study, results: Path, config: EvaluationConfig | None = None) -> Path:
    """Write the three files next to the predictions.

    Args:
        study: what is compared.
        results: the folder of what is published; nothing in it is a report too, of what there is to run.
        config: of the bootstrap; none takes the usual one.

    Returns:
        The page.
    """
    results.mkdir(parents=True, exist_ok=True)
    config = config or EvaluationConfig()
    table = table_of(study, read_published(study, results), config)
    write_csv(results / TABLE, table, digits=DIGITS)
    runs = read_record(results / RUNS)
    if len(table):
        save_figure(_figure(table), results / FIGURE)
    write_text(results / PAGE, render(study, table, runs, config))
    return results / PAGE


def render(study: Study, table: pd.DataFrame, runs: Mapping[str, Any], config: EvaluationConfig) -> str:
    """The page as Markdown."""
    scored = set(table["system"])
    waiting = [system for system in study.systems.values() if system.id not in scored]
    parts = ["# The systems that the paper compares itself with, on one ground", _how(study, config)]
    if len(table):
        parts += ["## Measured", f"![mean recall of each system]({FIGURE})", _measured(study, table, runs)]
        parts += ["Differences to each system's own baseline, paired by image:", _differences(study, table)]
    if waiting:
        parts += ["## Not yet run", _rows(("system", "cites", "what", "published"), map(_waiting, waiting))]
    parts += ["## What is published, and what differs here", _published(study)]
    parts += [
        "## Again",
        "    python -m related run --data DIR --out OUT\n    python -m related report --out OUT",
    ]
    return "\n\n".join(parts) + "\n"


def _how(study: Study, config: EvaluationConfig) -> str:
    return (
        f"All systems are scored on the same {study.folds} of {study.folds + 1} folds by lesion of HAM10000"
        " outside the test role of `grouped-v1`; the last fold chooses the learning rate of each training and"
        " is scored for none. A number is the mean over seeds; in brackets its"
        f" {config.level:.0%} interval over lesions ({config.bootstrap} draws). `table.csv` has those over"
        " folds and seeds as well, and is computed again from `predictions/` by the command below. The class"
        " named is the most probable one, the probabilities as they come. Mean cost: a malignant lesion"
        f" ({', '.join(MALIGNANT)}) named benign costs {MISSED:g}, every other confusion {WRONG:g}. No"
        " ranking: schedules are scaled to two cores; a system marked as a reading fills gaps of its article."
        " Hours are wall time of machines that did other work at the time."
    )


def _measured(study: Study, table: pd.DataFrame, runs: Mapping[str, Any]) -> str:
    head = ("system", "start", *SHOWN.values(), "seeds", "hours a seed", "parameters")
    rows = []
    for name, part in table.groupby("system", sort=False):
        system = study.systems[str(name)]
        by_metric = part.set_index("metric")
        facts = [facts for key, facts in runs.items() if key.startswith(f"{name}/")]
        hours = sum(float(one["seconds"]) for one in facts) / 3600 / len(facts) if facts else math.nan
        cells = [_cell(by_metric.loc[metric], "value", "low", "high") for metric in SHOWN]
        parameters = str(facts[0].get("parameters") or "–") if facts else "–"
        seeds = f"{int(by_metric['seeds'].iloc[0])} of {system.seeds}"
        rows.append((_named(system), _start(system), *cells, seeds, f"{hours:.2f}", parameters))
    return _rows(head, rows)


def _differences(study: Study, table: pd.DataFrame) -> str:
    rows = []
    for name, part in table.dropna(subset=["baseline"]).groupby("system", sort=False):
        by_metric = part.set_index("metric")
        cells = [
            _cell(by_metric.loc[metric], "difference", "difference_low", "difference_high", signed=True)
            for metric in SHOWN
        ]
        rows.append((_named(study.systems[str(name)]), str(by_metric["baseline"].iloc[0]), *cells))
    return _rows(("system", "baseline", *SHOWN.values()), rows) if rows else "None yet."


def _published(study: Study) -> str:
    rows = [
        (_named(system), system.cites or "–", system.title, system.published, system.differs)
        for system in study.systems.values()
    ]
    return _rows(("system", "cites", "what", "published", "what differs here"), rows)


def _waiting(system: System) -> tuple[str, ...]:
    return _named(system), system.cites or "–", system.title, system.published


def _named(system: System) -> str:
    return f"`{system.id}`" + (" (a reading)" if system.reading else "")


def _start(system: System) -> str:
    return "from random weights" if system.kind == "training" and system.start == "none" else system.start


def _cell(row: Any, value: str, low: str, high: str, *, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    if pd.isna(row[value]):
        return "–"
    if pd.isna(row[low]):
        return format(row[value], form)
    return f"{row[value]:{form}} [{row[low]:{form}}, {row[high]:{form}}]"


def _rows(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _figure(table: pd.DataFrame) -> Figure:
    """Mean recall of all systems on one axis, chance marked; all-nevus, if it is there, is a row."""
    rows = table[table["metric"] == "mean_recall"].reset_index(drop=True)
    figure, [axes] = panels(height=1.2 + 0.34 * len(rows))
    for place, row in enumerate(rows.to_dict("records")):
        mark = run_mark(5 if row["system"] == "all-nevus" else 0)
        low, high = (row["value"] if pd.isna(row[end]) else row[end] for end in ("low", "high"))
        axes.plot([low, high], [place, place], color=mark.color, linewidth=2)
        axes.plot([row["value"]], [place], marker=mark.marker, color=mark.color)
        if not pd.isna(row["folds_low"]):
            axes.plot([row["folds_low"], row["folds_high"]], [place, place], color=mark.color, linewidth=0.7)
    axes.axvline(1 / 7, color=BLACK, linewidth=1, linestyle="--")
    axes.annotate(
        "chance", (1 / 7, -0.6), fontsize=8, ha="left", va="center", xytext=(3, 0), textcoords="offset points"
    )
    axes.set_yticks(range(len(rows)), rows["system"])
    axes.set_ylim(len(rows) - 0.5, -0.9)
    axes.set_xlim(0, 1)
    axes.set_xlabel("mean recall; thick: over lesions, thin: over folds")
    title(axes, "Mean recall of the systems, out of fold")
    return figure
