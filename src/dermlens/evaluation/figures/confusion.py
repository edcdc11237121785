"""The confusion matrix: counts and row percent (the paper's Figures 10, 11)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from dermlens.evaluation.figures.style import panels, title


def confusion_matrix(counts_CC: ArrayLike, classes: Sequence[str]) -> Figure:
    """Rows are the true class, columns the named one; the shade is the row's percent.

    Args:
        counts_CC: images, rows true and columns named.
        classes: codes in the order of both.

    Returns:
        A figure whose cells read `count` over `percent of the row`; a row without images has no percent.
    """
    counts_CC = np.asarray(counts_CC, dtype=int)
    total_C1 = counts_CC.sum(axis=1, keepdims=True)
    share_CC = counts_CC / np.maximum(total_C1, 1)
    size = max(4.6, 1.3 + 0.66 * len(classes))
    figure, [axis] = panels(height=size, width=size + 0.2)
    axis.grid(False)
    # Light to dark in one hue: order survives every kind of colour vision, and print.
    axis.imshow(share_CC, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(classes)):
        for column in range(len(classes)):
            ink = "white" if share_CC[row, column] > 0.55 else "black"
            weight = "bold" if row == column else "normal"
            axis.text(
                column, row - 0.12, f"{counts_CC[row, column]}",
                ha="center", va="center", color=ink, fontsize=11, fontweight=weight, gid="count",
            )  # fmt: skip
            if total_C1[row, 0]:
                percent = f"{100 * share_CC[row, column]:.0f} %"
                axis.text(column, row + 0.24, percent, ha="center", va="center", color=ink, fontsize=8)
    axis.set_xticks(range(len(classes)), list(classes))
    totals = [f"{code}\nn = {n}" for code, n in zip(classes, total_C1[:, 0], strict=True)]
    axis.set_yticks(range(len(classes)), totals)
    axis.set_xlabel("the model named")
    axis.set_ylabel("true class")
    title(axis, "Confusion matrix: images and percent of the row")
    return figure
