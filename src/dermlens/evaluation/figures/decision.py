"""Sets and abstention: coverage of each class, and what answering fewer images would bring."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dermlens.evaluation.figures.style import BLACK, BLUE, GREY, ORANGE, VERMILION, panels, title

SOUGHT = {"mel": ("images of melanoma", "Melanomas"), "malignant": ("malignant images", "Malignant images")}
"""What the columns `<name>_missed` are of, in words."""


def coverage_bars(sets: pd.DataFrame, promised: float) -> Figure:
    """Coverage of each class with its interval, above the mean size of its sets.

    Args:
        sets: as `set_table` makes it.
        promised: share of lesions that sets are made to hold.

    Returns:
        A figure of two axes. Classes without a promise of their own are drawn hollow.
    """
    figure, (axis, below) = panels(2, height=5.0, ratios=[3, 2])
    places = np.arange(len(sets))
    axis.axhline(promised, color=GREY, linestyle=":", linewidth=1, label="promised", gid="promised")
    for place, (_, row) in zip(places, sets.iterrows(), strict=True):
        if np.isfinite(row["low"] if row["low"] is not None else np.nan):
            axis.plot([place, place], [row["low"], row["high"]], color=BLUE, linewidth=1.5)
        axis.plot(
            [place], [row["coverage"]], linestyle="", marker="o", color=BLUE, gid=f"coverage {row['class']}",
            markerfacecolor=BLUE if row["guaranteed"] else "white",
        )  # fmt: skip
    axis.set_xticks(places, [f"{row['class']}\n{row['images']}" for _, row in sets.iterrows()])
    axis.set_ylim(top=1.02)
    axis.set_ylabel("share of images covered")
    axis.legend(loc="lower right", fontsize=9)
    title(axis, "Is the class in the set? (hollow: no promise of its own)")
    below.bar(places, sets["set_size"], 0.7, color=ORANGE, gid="set_size")
    below.set_xticks(places, sets["class"])
    below.set_ylabel("diagnoses in a set")
    return figure


def risk_coverage_curve(curve: pd.DataFrame, rule: Mapping[str, float] | pd.Series[float]) -> Figure:
    """Share of wrong diagnoses against the share answered, above the melanomas that an answer passes over.

    Args:
        curve: as `risk_coverage` makes it.
        rule: the same columns where the model abstains as its rule says.

    Returns:
        A figure of two axes; of one where no class is melanoma or said to be malignant.
    """
    what = next((name for name in SOUGHT if f"{name}_missed" in curve), None)
    figure, axes = panels(2 if what else 1, height=5.4 if what else 3.9)
    wrong = axes[0]
    wrong.plot(
        curve["answered"], curve["error"], color=BLUE, linewidth=1.9, label="by confidence", gid="error"
    )
    wrong.plot(
        [rule["answered"]],
        [rule["error"]],
        linestyle="",
        marker="D",
        color=BLACK,
        label="the rule",
        gid="rule",
    )
    wrong.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    wrong.set_ylabel("wrong diagnoses")
    wrong.legend(loc="upper left", fontsize=9)
    title(wrong, "Wrong among the answered")
    if what:
        missed, below = f"{what}_missed", axes[1]
        images, heading = SOUGHT[what]
        below.plot(curve["answered"], curve[missed], color=VERMILION, linewidth=1.9, gid=missed)
        below.plot([rule["answered"]], [rule[missed]], linestyle="", marker="D", color=BLACK)
        below.set_ylim(bottom=0)
        below.set_ylabel(images)
        title(below, f"{heading} missed: answered, and not in the set")
    axes[-1].set_xlabel("share of images answered")
    for axis in axes:
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return figure
