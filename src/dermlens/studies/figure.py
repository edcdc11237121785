"""The differences of an ablation as a forest plot: a row an arm, a mark a decision."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dermlens.evaluation.figures.style import BLACK, panels, run_mark, save_figure, title

DRAWN = {"mean_recall": "Mean recall", "recall_mel": "Melanoma recall", "accuracy": "Accuracy"}
WORDS = {"argmax": "highest probability", "rule": "decision rule"}


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
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
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
