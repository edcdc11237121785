"""The report: tables, a figure, and index.md, from what is published; what is not yet run is listed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dermlens.data.predictions import write_csv
from dermlens.files import write_text
from dermlens.report.plots import save_figure
from dermlens.sections import EvaluationConfig
from paper.study import read_record
from related.away import FOLDER, HOME, PLACES, SOURCES, read_published_away
from related.figure import mean_recall_figure
from related.plan import RUNS
from related.publication import folder_of, read_published
from related.singletons import HOLDOUT
from related.study import Study, System
from related.table import MALIGNANT, METRICS, MISSED, SHOWN, WRONG, table_of
from related.uncertainty import CHANCE, uncertainty_table
from related.uncertainty import METRICS as UNCERTAINTY
from related.unseen import MEASURES, SCORES, UNSEEN, UNSEEN_TRAINED, write_unseen_table

TABLE, PAGE, FIGURE = "table.csv", "index.md", "mean_recall.png"
SURE = "uncertainty.csv"
DIGITS = 6
AWAY = ("mean_recall", "recall_mel")
"""Metrics of the page for other clinics' images; all are in their table.csv."""


@dataclass(frozen=True)
class Tables:
    """What was measured.

    Attributes:
        folds: on the folds, all systems.
        singletons: on lesions with a single image.
        away: on other clinics' images, by source.
        uncertainty: of the probabilities of the heads, on the folds, and away by source.
        unseen: of classes that were left out, by the folder of what is published.
    """

    folds: pd.DataFrame
    singletons: pd.DataFrame
    away: dict[str, pd.DataFrame]
    uncertainty: dict[str, pd.DataFrame]
    unseen: dict[str, pd.DataFrame]


def write_report(study: Study, results: Path, config: EvaluationConfig | None = None) -> Path:
    """Write the tables, the figure and the page next to the predictions.

    Args:
        study: what is compared.
        results: the folder of what is published; nothing in it is a report too, of what there is to run.
        config: of the bootstrap; none takes the usual one.

    Returns:
        The page.
    """
    results.mkdir(parents=True, exist_ok=True)
    config = config or EvaluationConfig()
    folds = read_published(study, results)
    singletons = read_published(study, results, "singletons")
    away = {source: read_published_away(study, results, source) for source in SOURCES}
    away = {source: found for source, found in away.items() if found}
    tables = Tables(
        table_of(study, folds, config),
        table_of(study, singletons, config),
        {source: table_of(study, found, config) for source, found in away.items()},
        {
            where: uncertainty_table(study, _heads(study, found), config)
            for where, found in {HOME: folds, **away}.items()
            if _heads(study, found)
        },
        {
            folder: write_unseen_table(results / folder, config)
            for folder in UNSEEN_NETWORKS
            if (results / folder / SCORES).is_file()
        },
    )
    write_csv(results / TABLE, tables.folds, digits=DIGITS)
    if len(tables.singletons):
        write_csv(folder_of(results, "singletons") / TABLE, tables.singletons, digits=DIGITS)
    for source, table in tables.away.items():
        write_csv(results / FOLDER / source / TABLE, table, digits=DIGITS)
    for where, table in tables.uncertainty.items():
        folder = results if where == HOME else results / FOLDER / where
        write_csv(folder / SURE, table, digits=DIGITS)
    runs = read_record(results / RUNS)
    if len(tables.folds):
        save_figure(mean_recall_figure(study, tables.folds, tables.away), results / FIGURE)
    write_text(results / PAGE, render(study, tables, runs, config))
    return results / PAGE


def render(study: Study, tables: Tables, runs: Mapping[str, Any], config: EvaluationConfig) -> str:
    """The page as Markdown."""
    scored = {*tables.folds["system"], *tables.singletons["system"]}
    waiting = [system for system in study.systems.values() if system.id not in scored]
    parts = ["# The systems that the paper compares itself with, on one ground", _how(study, config)]
    if len(tables.folds):
        parts += [
            "## All systems",
            f"![mean recall of each system]({FIGURE})",
            "A network that no ImageNet start was given is marked `from random weights`.",
            _measured(study, tables.folds),
            "## Differences",
            "To each system's own baseline, paired by image:",
            _differences(study, tables.folds, SHOWN, METRICS),
        ]
        if tables.away:
            parts += ["## Away from home", _how_away(tables), _away(study, tables.folds, tables.away)]
        parts += [
            "## Folds and seeds",
            "What the number of another fold or another start would be: the interval over folds and, of two"
            " seeds, both values.",
            _spread(study, tables.folds),
            "## What differs, and what it took",
            _facts(study, tables.folds, runs),
        ]
    if tables.uncertainty:
        parts += ["## What the probabilities are worth", _how_sure(config)]
    for where, table in tables.uncertainty.items():
        parts += [f"{PLACES[where]}:", _uncertainty(study, table)]
        parts += [f"Differences to the plain head, paired by image, {PLACES[where]}:"]
        parts += [_differences(study, table, tuple(UNCERTAINTY), UNCERTAINTY)]
    if len(tables.singletons):
        parts += ["## Lesions with a single image", _how_singletons()]
        parts += [_measured(study, tables.singletons), _facts(study, tables.singletons, runs)]
    if waiting:
        head = ("system", "what", "published, and on what", "what differs", "what it waits for")
        parts += ["## Not yet run", _rows(head, map(_waiting, waiting))]
    parts += _unseen(tables.unseen)
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
        f" {config.level:.0%} interval over lesions ({config.bootstrap} draws). `table.csv` is computed again"
        " from `predictions/` by the command below."
        " The class named is the most probable one, the probabilities as they come. Mean cost: a malignant"
        f" lesion ({', '.join(MALIGNANT)}) named benign costs {MISSED:g}, every other confusion {WRONG:g}. No"
        " ranking: schedules are scaled to two cores; a system marked as a reading fills gaps of its article."
        " Hours are wall time of machines that did other work at the time."
    )


def _how_sure(config: EvaluationConfig) -> str:
    return (
        "Lower is better in every column. In parentheses behind the calibration error (15 bins of equal"
        f" width) is the {config.level:.0%} band of what chance alone would give, were every probability"
        " exactly right: an error within it shows no miscalibration. The area under risk and coverage is the"
        " mean error over all shares of images that could be answered, the surest first. `uncertainty.csv`"
        " has the intervals over folds and seeds."
    )


def _how_singletons() -> str:
    return (
        f"Reference [14] tests on {HOLDOUT:.0%} of the lesions that have one image, four of five of them"
        " nevi. The same draw here, outside the test role of `grouped-v1`; learning rates are those that the"
        " folds chose."
    )


UNSEEN_NETWORKS = {
    UNSEEN: (
        "The network is one of ImageNet, frozen. ODIN is left out, as no network was trained on the classes.",
        "python -m related unseen --data DIR",
    ),
    UNSEEN_TRAINED: (
        "The networks are the baseline's, trained in each fold on all classes but the one.",
        "python -m related unseen --data DIR --out OUT",
    ),
}
"""Of a published folder: what looks for the class, and the command."""


def _unseen(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """A class that nothing was fitted on: how well each score of reference [4] and its rivals finds it."""
    parts = [
        "## A class that was left out",
        "Reference [4] detects such images by isolation forests on a network's features; printed AUC 0.74,"
        " its hold-out unknown. No weight here has seen the class; the forest looks at all stages, the others"
        " at the last. AUROC and AUPR (images of the class are the positives) the higher the better, FPR95"
        " the lower; intervals over lesions.",
    ]
    for folder, (caption, command) in UNSEEN_NETWORKS.items():
        parts.append(caption if folder in tables else f"{caption} Not yet run: `{command}`.")
        if folder in tables:
            parts.append(_unseen_rows(tables[folder]))
    return parts


def _unseen_rows(table: pd.DataFrame) -> str:
    rows = []
    for (left_out, method), part in table.groupby(["left_out", "method"], sort=False):
        by_measure = part.set_index("measure")
        unseen, seen = (int(by_measure[name].iloc[0]) for name in ("unseen", "seen"))
        cells = [_cell(by_measure.loc[measure], "value", "low", "high") for measure in MEASURES]
        images = f"{unseen} of {unseen + seen} images, {part['folds'].iloc[0]} of 5 folds"
        rows.append((f"{left_out} ({images})", method, *cells))
    return _rows(("left out", "score", *(measure.upper() for measure in MEASURES)), rows)


def _uncertainty(study: Study, table: pd.DataFrame) -> str:
    rows = []
    for name, part in table.groupby("system", sort=False):
        by_metric = part.set_index("metric")
        cells = [_cell(by_metric.loc[metric], "value", "low", "high") for metric in UNCERTAINTY]
        low, high = (by_metric[end]["ece"] for end in CHANCE)
        if not pd.isna(low):
            cells[list(UNCERTAINTY).index("ece")] += f" ({low:.3f} to {high:.3f})"
        rows.append((_named(study.systems[str(name)]), *cells))
    return _rows(("system", *UNCERTAINTY.values()), rows)


def _how_away(tables: Tables) -> str:
    places = " and ".join(PLACES[source] for source in tables.away)
    return (
        f"Away is {places}. Each image is asked of one of the five networks, that of the fold which its"
        " lesion id gives; the mean is over the classes that are there, all seven may be named. ISIC 2017 has"
        " three of them: naming every image a nevus has a mean recall of 1/3 there."
    )


def _measured(study: Study, table: pd.DataFrame) -> str:
    """A row a system: what was published, and ours with intervals over lesions."""
    rows = []
    for system, by_metric in _by_system(study, table):
        cells = [_cell(by_metric.loc[metric], "value", "low", "high") for metric in SHOWN]
        rows.append((_described(system), system.published, *cells))
    return _rows(("system", "published, and on what", *(METRICS[metric] for metric in SHOWN)), rows)


def _away(study: Study, home: pd.DataFrame, away: Mapping[str, pd.DataFrame]) -> str:
    """A row a system that was asked of other clinics' images, beside what it does at home."""
    head = ["system"]
    for metric in AWAY:
        head += [f"{METRICS[metric]}, home", *(f"{METRICS[metric]}, {source}" for source in away)]
    rows = []
    for system, by_metric in _by_system(study, home):
        asked = any((table["system"] == system.id).any() for table in away.values())
        cells = []
        for metric in AWAY:
            cells.append(_cell(by_metric.loc[metric], "value", "low", "high"))
            cells += [_elsewhere(table, system, metric) for table in away.values()]
        rows += [(_named(system), *cells)] if asked else []
    return _rows(tuple(head), rows)


def _spread(study: Study, table: pd.DataFrame) -> str:
    """A row a system: intervals over folds and the values of the seeds."""
    rows = []
    for system, by_metric in _by_system(study, table):
        seeds = _seeds(system, by_metric)
        rows.append((_named(system), seeds, *(_spread_of(by_metric.loc[metric]) for metric in SHOWN)))
    return _rows(("system", "seeds", *(METRICS[metric] for metric in SHOWN)), rows)


def _facts(study: Study, table: pd.DataFrame, runs: Mapping[str, Any]) -> str:
    """A row a system: what is not as published, and what it took."""
    rows = []
    for system, by_metric in _by_system(study, table):
        facts = [facts for key, facts in runs.items() if key.startswith(f"{system.id}/")]
        hours = sum(float(one["seconds"]) for one in facts) / 3600 / len(facts) if facts else math.nan
        parameters = str(facts[0].get("parameters") or "–") if facts else "–"
        seeds = _seeds(system, by_metric)
        rows.append((_named(system), system.differs, seeds, f"{hours:.2f}", parameters))
    return _rows(
        ("system", "what differs from what is published", "seeds", "hours a seed", "parameters"), rows
    )


def _seeds(system: System, by_metric: pd.DataFrame) -> str:
    return f"{int(by_metric['seeds'].iloc[0])} of {system.seeds}"


def _by_system(study: Study, table: pd.DataFrame) -> Iterator[tuple[System, pd.DataFrame]]:
    """Each system that was measured, and its rows by metric."""
    for name, part in table.groupby("system", sort=False):
        yield study.systems[str(name)], part.set_index("metric")


def _elsewhere(table: pd.DataFrame, system: System, metric: str) -> str:
    """A number of other clinics' images, where a system was asked of them."""
    found = table[(table["system"] == system.id) & (table["metric"] == metric)]
    return _cell(found.iloc[0], "value", "low", "high") if len(found) else "–"


def _spread_of(row: Any) -> str:
    """The interval over folds and, of several seeds, the least and the largest."""
    lines = []
    if not pd.isna(row["folds_low"]) and row["folds_low"] < row["folds_high"]:
        lines.append(f"folds {row['folds_low']:.3f} to {row['folds_high']:.3f}")
    if row["seeds"] > 1:
        lines.append(f"seeds {row['seeds_low']:.3f} to {row['seeds_high']:.3f}")
    return "; ".join(lines) or "–"


def _differences(study: Study, table: pd.DataFrame, shown: tuple[str, ...], words: Mapping[str, str]) -> str:
    rows = []
    for name, part in table.dropna(subset=["baseline"]).groupby("system", sort=False):
        by_metric = part.set_index("metric")
        cells = [
            _cell(by_metric.loc[metric], "difference", "difference_low", "difference_high", signed=True)
            for metric in shown
        ]
        rows.append((_named(study.systems[str(name)]), str(by_metric["baseline"].iloc[0]), *cells))
    return _rows(("system", "baseline", *(words[metric] for metric in shown)), rows) if rows else "None yet."


def _waiting(system: System) -> tuple[str, ...]:
    waits = system.waits or "its run"
    return f"`{system.id}`", _what(system), system.published, system.differs, waits


def _named(system: System) -> str:
    return f"`{system.id}`" + (" (a reading)" if system.reading else "")


def _described(system: System) -> str:
    return f"`{system.id}`<br>{_what(system)}"


def _what(system: System) -> str:
    """A system in words: the reference, what it is, what it starts from, whether it is a reading."""
    marks = [_start(system), *(["a reading"] if system.reading else [])]
    return f"{system.cites} {system.title} ({'; '.join(marks)})".strip()


def _start(system: System) -> str:
    if system.start != "none":
        return f"start: {system.start}"
    return "from random weights" if system.kind == "training" else "no network"


def _heads(study: Study, found: Mapping[str, list[pd.DataFrame]]) -> dict[str, list[pd.DataFrame]]:
    return {name: seeds for name, seeds in found.items() if study.systems[name].kind == "head"}


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
