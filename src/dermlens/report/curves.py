"""Curves: training, ROC, precision–recall, reliability, decisions, coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from dermlens.report.plots import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    VERMILION,
    WIDTH,
    class_mark,
    legend_below,
    panels,
    plain_log_ticks,
    title,
)

# Legend: N images, C classes; p_NC are probabilities.


def roc_curves(target_N: ArrayLike, p_NC: NDArray[np.floating], classes: Sequence[str]) -> Figure:
    """Sensitivity against 1 − specificity, each class against the rest (the paper's Figures 16, 17).

    Args:
        target_N: class codes.
        p_NC: probabilities, columns in the order of `classes`.
        classes: the codes.

    Returns:
        A figure with one line a class (its `gid` is the code); a class without images, or with nothing else
        next to it, has none and the legend says so.
    """
    figure, [axis] = panels(height=5.2)
    for index, code, positive_N, score_N in _one_against_rest(target_N, p_NC, classes):
        if positive_N.all() or not positive_N.any():
            axis.plot([], [], " ", label=f"{code}: not defined")
            continue
        false_positive, true_positive, _ = roc_curve(positive_N, score_N)
        words = f"{code}  {auc(false_positive, true_positive):.3f}"
        _line(axis, false_positive, true_positive, index, code, words)
    axis.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=":", gid="chance")
    axis.set_aspect("equal")
    _unit_square(axis, "1 − specificity", "sensitivity (recall)")
    axis.legend(loc="lower right", title="area under the curve", title_fontsize=9, fontsize=9)
    title(axis, "ROC, each class against the rest")
    return figure


def precision_recall_curves(
    target_N: ArrayLike, p_NC: NDArray[np.floating], classes: Sequence[str]
) -> Figure:
    """Precision against recall, each class against the rest; arguments as in `roc_curves`.

    The legend gives the average precision and, in brackets, the class's share of the images, which is the
    precision of guessing.
    """
    figure, [axis] = panels(height=5.2)
    for index, code, positive_N, score_N in _one_against_rest(target_N, p_NC, classes):
        if not positive_N.any():
            axis.plot([], [], " ", label=f"{code}: not defined")
            continue
        precision, recall, _ = precision_recall_curve(positive_N, score_N, drop_intermediate=True)
        mean = average_precision_score(positive_N, score_N)
        words = f"{code}  {mean:.3f}  ({positive_N.mean():.3f})"
        _line(axis, recall, precision, index, code, words)
    axis.set_aspect("equal")
    _unit_square(axis, "recall (sensitivity)", "precision")
    legend_below(figure, axis, title="average precision (share of images)", title_fontsize=9)
    figure.set_size_inches(WIDTH, 6.1)
    title(axis, "Precision and recall, each class against the rest")
    return figure


def kept_epoch(history: pd.DataFrame, keep: str) -> int | None:
    """The epoch whose weights became the model: the first with the best `keep`, or the last one.

    Args:
        history: columns epoch and the monitors.
        keep: `val_loss` (lower is better), another monitor, or `last`.

    Returns:
        The epoch's number; none where the history cannot tell.
    """
    if history.empty:
        return None
    if keep == "last":
        return int(history["epoch"].iloc[-1])
    if keep not in history or history[keep].isna().all():
        return None
    values = history[keep].to_numpy(float)
    best = np.nanargmin(values) if keep == "val_loss" else np.nanargmax(values)
    return int(history["epoch"].iloc[int(best)])


def training_curves(history: pd.DataFrame, kept: int | None = None) -> Figure:
    """Loss, accuracy with mean recall, and learning rate over the epochs.

    Args:
        history: columns epoch, train_loss, val_loss, train_accuracy, val_accuracy, val_mean_recall, lr; a
            column that is absent or empty is not drawn.
        kept: the epoch to mark.

    Returns:
        A figure of three axes.
    """
    figure, (loss, share, rate) = panels(3, height=6.4, ratios=[3, 3, 1.5])
    _over_epochs(loss, history, "train_loss", "training", BLACK, "-", "o")
    _over_epochs(loss, history, "val_loss", "held out", ORANGE, (0, (5, 1.5)), "s")
    _over_epochs(share, history, "train_accuracy", "accuracy, training", BLACK, "-", "o")
    _over_epochs(share, history, "val_accuracy", "accuracy, held out", ORANGE, (0, (5, 1.5)), "s")
    _over_epochs(share, history, "val_mean_recall", "mean recall, held out", BLUE, (0, (1, 1)), "^")
    _over_epochs(rate, history, "lr", "learning rate", GREY, "-", ".")
    title(loss, "Loss")
    loss.set_ylim(bottom=0)
    title(share, "Accuracy and mean recall")
    share.set_ylim(0, 1.02)
    title(rate, "Learning rate")
    rate.set_yscale("log")
    plain_log_ticks(rate.yaxis)
    rate.set_xlabel("epoch")
    for axis in (loss, share, rate):
        if kept is not None:
            axis.axvline(
                kept, color=GREY, linewidth=1, linestyle=":", gid="kept", label=f"kept: epoch {kept}"
            )
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis in (loss, share):
        axis.legend(fontsize=8.5, loc="best", framealpha=0.9)
    return figure


def _one_against_rest(
    target_N: ArrayLike, p_NC: NDArray[np.floating], classes: Sequence[str]
) -> list[tuple[int, str, NDArray[np.bool_], NDArray[np.floating]]]:
    codes_N = np.asarray(target_N)
    return [(index, code, codes_N == code, p_NC[:, index]) for index, code in enumerate(classes)]


def _line(
    axis: Axes, x: NDArray[np.floating], y: NDArray[np.floating], index: int, code: str, words: str
) -> None:
    mark = class_mark(index)
    width = 2.3 if code == "mel" else 1.6
    axis.plot(x, y, color=mark.color, linestyle=mark.line, linewidth=width, label=words, gid=code)


def _unit_square(axis: Axes, x: str, y: str) -> None:
    axis.set_xlim(-0.01, 1.01)
    axis.set_ylim(-0.01, 1.01)
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def _over_epochs(
    axis: Axes, history: pd.DataFrame, column: str, words: str, color: str, line: object, marker: str
) -> None:
    if column in history and history[column].notna().any():
        axis.plot(
            history["epoch"].to_numpy(),
            history[column].to_numpy(float),
            color=color,
            linestyle=line,
            marker=marker,
            markersize=3.5,
            linewidth=1.5,
            label=words,
            gid=column,
        )


# Whether probabilities mean what they say, and what acting on them would bring.


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


def decision_curve(points: Sequence[Mapping[str, float | None]], subject: str) -> Figure:
    """Net benefit of acting on the model, on everyone, on no one (Vickers and Elkin 2006).

    Args:
        points: threshold, model, all, none at each threshold probability, and the model's `low` and `high`
            where it has an interval.
        subject: what is detected, for the title.

    Returns:
        A figure with three lines, and a band about the model's where any point has an interval.
    """
    figure, [axis] = panels(height=4.0)
    looks = {
        "model": ("act on the model", VERMILION, "-"),
        "all": ("act on every image", BLACK, (0, (5, 2))),
        "none": ("act on none", GREY, ":"),
    }
    at = {
        key: np.array([np.nan if (found := point.get(key)) is None else found for point in points])
        for key in ("threshold", *looks, "low", "high")
    }
    for name, (words, color, line) in looks.items():
        axis.plot(
            at["threshold"], at[name],
            color=color, linestyle=line, linewidth=1.9, label=words, gid=name,
        )  # fmt: skip
    known_P = np.isfinite(at["low"]) & np.isfinite(at["high"])
    if known_P.any():
        axis.fill_between(
            at["threshold"], at["low"], at["high"], where=known_P.tolist(),
            color=VERMILION, alpha=0.18, linewidth=0, label="the model's interval", gid="interval",
        )  # fmt: skip
    # Acting on everyone falls far below zero; what matters is near the model's line.
    lowest = [at["model"].min(), *at["low"][known_P]]
    top = max(0.01, at["model"].max(), at["all"].max(), *at["high"][known_P])
    axis.set_ylim(min(-0.25 * top, *(1.1 * height for height in lowest)), 1.12 * top)
    axis.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10]))
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axis.set_xlabel("threshold probability")
    axis.set_ylabel("net benefit")
    axis.legend(fontsize=9)
    title(axis, f"Decision curve: {subject}")
    return figure


# Sets and abstention: coverage of each class, and what answering fewer images would bring.


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


def risk_coverage_curve(curve: pd.DataFrame, answered: Mapping[str, float] | pd.Series[float]) -> Figure:
    """Share of wrong diagnoses against the share answered, above the melanomas that an answer passes over.

    Args:
        curve: as `risk_coverage` makes it.
        answered: the same columns where the model abstains as it does.

    Returns:
        A figure of two axes; of one where no class is melanoma or malignant.
    """
    what = next((name for name in SOUGHT if f"{name}_missed" in curve), None)
    figure, axes = panels(2 if what else 1, height=5.4 if what else 3.9)
    wrong = axes[0]
    wrong.plot(
        curve["answered"], curve["error"], color=BLUE, linewidth=1.9, label="by confidence", gid="error"
    )
    wrong.plot(
        [answered["answered"]],
        [answered["error"]],
        linestyle="",
        marker="D",
        color=BLACK,
        label="the model",
        gid="answered",
    )
    wrong.yaxis.set_major_formatter(PercentFormatter(1, symbol=" %"))
    wrong.set_ylabel("wrong diagnoses")
    wrong.legend(loc="upper left", fontsize=9)
    title(wrong, "Wrong among the answered")
    if what:
        missed, below = f"{what}_missed", axes[1]
        images, heading = SOUGHT[what]
        below.plot(curve["answered"], curve[missed], color=VERMILION, linewidth=1.9, gid=missed)
        below.plot([answered["answered"]], [answered[missed]], linestyle="", marker="D", color=BLACK)
        below.set_ylim(bottom=0)
        below.set_ylabel(images)
        title(below, f"{heading} missed: answered, and not in the set")
    axes[-1].set_xlabel("share of images answered")
    for axis in axes:
        axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    return figure
