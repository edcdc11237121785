"""Curves: training, ROC, precision–recall.

Legend: N images, C classes; p_NC are probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import auc, average_precision_score, precision_recall_curve, roc_curve

from dermlens.evaluation.figures.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    WIDTH,
    class_mark,
    panels,
    plain_log_ticks,
    title,
)

if TYPE_CHECKING:
    import pandas as pd


def roc_curves(target_N: ArrayLike, p_NC: NDArray[np.floating], classes: Sequence[str]) -> Figure:
    """Sensitivity against 1 − specificity, each class against the rest (the paper's Figures 16, 17).

    Args:
        target_N: class codes.
        p_NC: probabilities, columns in the order of `classes`.
        classes: the codes.

    Returns:
        A figure with one line a class (its `gid` is the code); a class without images, or with nothing else
        beside it, has none and the legend says so.
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
    figure.legend(
        loc="outside lower center",
        ncols=2,
        title="average precision (share of images)",
        title_fontsize=9,
        fontsize=9,
        frameon=False,
    )
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
