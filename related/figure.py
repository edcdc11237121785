"""One figure of all systems: mean recall on one axis, with intervals, chance, and other clinics' images."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dermlens.report.plots import BLACK, panels, run_mark
from related.away import PLACES
from related.study import IMAGENET, Study, System

STILL, STARTED, DRAWN = "no network, or none that was trained", "trained from ImageNet", "from random weights"
COLORS = {group: run_mark(index).color for index, group in enumerate((STILL, STARTED, DRAWN))}
SHAPES = ("D", "s")
SEVEN = ("milk10k",)
"""Sources that have all diagnoses, of which alone chance is one in seven."""
LABEL = 46
"""Letters to a line of a system's name."""


def group_of(system: System) -> str:
    """How the figure colours a system."""
    if system.kind in ("classical", "head"):
        return STILL
    return STARTED if system.start == IMAGENET else DRAWN


def mean_recall_figure(study: Study, table: pd.DataFrame, away: Mapping[str, pd.DataFrame]) -> Figure:
    """Every system in words, in the order of the comparison.

    Args:
        study: what is compared.
        table: as `table_of` gives it, at home.
        away: the same of other clinics' images, by source.
    """
    rows = table[table["metric"] == "mean_recall"].reset_index(drop=True)
    figure, [axes] = panels(height=2.1 + 0.34 * len(rows), width=7.6)
    elsewhere = {
        source: found[found["metric"] == "mean_recall"].set_index("system")["value"]
        for source, found in away.items()
        if source in SEVEN
    }
    shapes = dict(zip(elsewhere, SHAPES, strict=False))
    labels, groups = [], {}
    for place, row in enumerate(rows.to_dict("records")):
        system = study.systems[str(row["system"])]
        color = groups[group_of(system)] = COLORS[group_of(system)]
        low, high = (row["value"] if pd.isna(row[end]) else row[end] for end in ("low", "high"))
        axes.plot([low, high], [place, place], color=color, linewidth=3, solid_capstyle="butt")
        axes.plot([row["value"]], [place], marker="o", color=color, markersize=5)
        if not pd.isna(row["folds_low"]):
            axes.plot([row["folds_low"], row["folds_high"]], [place, place], color=color, linewidth=0.8)
        for source, value_S in elsewhere.items():
            if system.id in value_S:
                axes.plot(
                    [value_S[system.id]], [place],
                    color=color, marker=shapes[source], markersize=5, markerfacecolor="none", linestyle="",
                )  # fmt: skip
        labels.append(textwrap.fill(f"{system.title} {system.cites}".strip(), LABEL))
    axes.axvline(1 / 7, color=BLACK, linewidth=1, linestyle="--")
    words = "chance, and every image named a nevus"
    axes.annotate(words, (1 / 7, -0.75), fontsize=8, va="center", xytext=(3, 0), textcoords="offset points")
    axes.set_yticks(range(len(rows)), labels, fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -1.2)
    axes.set_xlim(0, 1)
    axes.set_xlabel("mean recall; thick: over lesions, thin: over folds")
    handles = [
        Line2D([], [], color=color, marker="o", linewidth=3, label=one) for one, color in groups.items()
    ]
    handles += [
        Line2D([], [], color=BLACK, marker=shape, markerfacecolor="none", linestyle="", label=PLACES[source])
        for source, shape in shapes.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    words = "How much of each diagnosis a system names, on average"
    figure.suptitle(words, x=0.01, ha="left", fontsize=10.5, fontweight="bold")
    return figure
