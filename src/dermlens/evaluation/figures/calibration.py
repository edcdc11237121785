"""Whether probabilities mean what they say, and what acting on them would bring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dermlens.evaluation.figures.style import BLACK, BLUE, GREY, VERMILION, panels, title


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> Figure:
    """Share of right answers against stated confidence, above the number of images in each bin.

    Args:
        bins: low, high, count, confidence, accuracy of each bin, as metrics.json has them; empty bins are
            not drawn.

    Returns:
        A figure of two axes.
    """
    figure, (axis, below) = panels(2, height=5.4, ratios=[4, 1])
    filled = [cell for cell in bins if cell["count"]]
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=":", label="as stated", gid="ideal")
    axis.plot(
        [cell["confidence"] for cell in filled],
        [cell["accuracy"] for cell in filled],
        color=BLUE, marker="o", markersize=5, linewidth=1.5, label="measured", gid="reliability",
    )  # fmt: skip
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("share of right answers")
    axis.legend(loc="upper left", fontsize=9)
    title(axis, "Reliability of the named class's probability")
    below.bar(
        [(cell["low"] + cell["high"]) / 2 for cell in filled],
        [cell["count"] for cell in filled],
        [(cell["high"] - cell["low"]) * 0.92 for cell in filled],
        color=BLUE, gid="count",
    )  # fmt: skip
    below.set_xlim(0, 1)
    below.set_xlabel("stated probability of the named class")
    below.set_ylabel("images")
    return figure


def decision_curve(points: Sequence[Mapping[str, float]], subject: str) -> Figure:
    """Net benefit of acting on the model, on everyone, on no one (Vickers and Elkin 2006).

    Args:
        points: threshold, model, all, none at each threshold probability.
        subject: what is detected, for the title.

    Returns:
        A figure with three lines.
    """
    figure, [axis] = panels(height=4.0)
    looks = {
        "model": ("act on the model", VERMILION, "-"),
        "all": ("act on every image", BLACK, (0, (5, 2))),
        "none": ("act on none", GREY, ":"),
    }
    for name, (words, color, line) in looks.items():
        axis.plot(
            [point["threshold"] for point in points],
            [point[name] for point in points],
            color=color, linestyle=line, linewidth=1.9, label=words, gid=name,
        )  # fmt: skip
    # Acting on everyone falls far below zero; what matters is near the model's line.
    heights = [point["model"] for point in points]
    top = max(0.01, *heights, *(point["all"] for point in points))
    axis.set_ylim(min(-0.25 * top, *(1.1 * height for height in heights)), 1.12 * top)
    axis.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axis.set_xlabel("threshold probability")
    axis.set_ylabel("net benefit")
    axis.legend(fontsize=9)
    title(axis, f"Decision curve: {subject}")
    return figure
