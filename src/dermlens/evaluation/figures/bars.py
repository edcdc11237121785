"""Bars per class: one run with its intervals, or several beside each other (the paper's Figures 12–15)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dermlens.errors import UserError
from dermlens.evaluation.figures.style import BLUE, class_mark, panels, run_mark, save_figure, title
from dermlens.evaluation.report.numbers import NONE, estimate, in_role_order
from dermlens.runs import Run

MEASURES = {"recall": "Recall (sensitivity)", "f1": "F1", "precision": "Precision", "auc": "AUC"}


def recall_bars(per_class: Mapping[str, Mapping[str, Any]], sought: Sequence[str] = ("mel",)) -> Figure:
    """Recall of every class with its interval, the bars of what is sought hatched.

    Args:
        per_class: class → its scores, as metrics.json has them.
        sought: melanoma, or the malignant own classes.

    Returns:
        A figure with one horizontal bar a class that has images.
    """
    figure, [axis] = panels(height=1.2 + 0.42 * len(per_class))
    for row, (code, scores) in enumerate(per_class.items()):
        recall = scores["recall"]
        words = f"{estimate(recall)}\nn = {scores['support']}"
        if recall["value"] is not None:
            mark = class_mark(4)
            color, hatch = (mark.color, mark.hatch) if code in sought else (BLUE, "")
            axis.barh(row, recall["value"], 0.62, color=color, hatch=hatch, edgecolor="white", gid=code)
            _whisker(axis, recall, row, across=False)
        axis.text(1.03, row, words, va="center", fontsize=8.5, transform=axis.get_yaxis_transform())
    axis.set_yticks(range(len(per_class)), list(per_class))
    axis.set_ylim(len(per_class) - 0.5, -0.5)
    axis.set_xlim(0, 1)
    axis.grid(False, axis="y")
    axis.set_xlabel("recall")
    title(axis, "Recall per class")
    return figure


def compare_bars(
    *scores: Mapping[str, Any], names: Sequence[str], measure: str, role: str | None = None
) -> Figure:
    """One measure per class, a bar a run.

    Args:
        scores: metrics.json of each run.
        names: of the runs.
        measure: `recall`, `f1`, `precision` or `auc`.
        role: the scored role; by default the first of test, calibration, selection that all runs have.

    Returns:
        A figure.

    Raises:
        UserError: the runs have no scored role, or not the classes, in common.
    """
    figure, [axis] = panels(height=3.9, width=7.2)
    _draw_bars(axis, scores, names, measure, role or common_role(scores))
    _legend(figure, axis)
    return figure


def save_comparison(runs: Sequence[Run], path: Path, roles: Collection[str]) -> Path:
    """Draw recall and F1 per class of several runs into one figure.

    Args:
        runs: evaluated runs.
        path: .svg or .png to write.
        roles: those that may be looked at; a comparison leaves a sealed test out.

    Raises:
        UserError: a run has no metrics, the runs cannot be compared, or the name is not .svg or .png.
    """
    scores = [run.read_metrics() for run in runs]
    for scored in scores:
        scored["roles"] = {role: found for role, found in scored["roles"].items() if role in roles}
    role = common_role(scores)
    names = [run.path.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    figure, axes = panels(2, height=7.2, width=7.2)
    for axis, measure in zip(axes, ("recall", "f1"), strict=True):
        _draw_bars(axis, scores, names, measure, role)
    _legend(figure, axes[0])
    return save_figure(figure, path)


def common_role(scores: Sequence[Mapping[str, Any]]) -> str:
    """The role to compare on: the first of test, calibration, selection, others that every run has scored.

    Raises:
        UserError: there is none, or the classes differ.
    """
    if any(list(metrics["classes"]) != list(scores[0]["classes"]) for metrics in scores):
        raise UserError("these runs do not know the same classes, so their bars cannot stand side by side")
    shared = [role for role in scores[0]["roles"] if all(role in metrics["roles"] for metrics in scores)]
    if not shared:
        raise UserError("these runs have no scored role in common; `dermlens evaluate` scores a run")
    return in_role_order(shared)[0]


def _draw_bars(
    axis: Axes, scores: Sequence[Mapping[str, Any]], names: Sequence[str], measure: str, role: str
) -> None:
    classes = list(scores[0]["classes"])
    width = 0.82 / len(scores)
    for index, (metrics, name) in enumerate(zip(scores, names, strict=True)):
        mark = run_mark(index)
        labelled = False
        for place, code in enumerate(classes):
            value = metrics["roles"][role]["per_class"][code][measure]
            x = place - 0.41 + width * (index + 0.5)
            if not value["value"]:  # no bar to be seen: none right, or nothing to count
                axis.text(x, 0.01, "0" if value["value"] == 0 else NONE, ha="center", fontsize=9)
            if value["value"] is None:
                continue
            axis.bar(
                x, value["value"], width,
                color=mark.color, hatch=mark.hatch, edgecolor="white", linewidth=0.8,
                label=None if labelled else name, gid=f"{name}:{code}",
            )  # fmt: skip
            labelled = True
            _whisker(axis, value, x, across=True)
    axis.set_xticks(range(len(classes)), [_tick(code, scores, role) for code in classes])
    axis.set_ylim(0, 1.02)
    axis.grid(False, axis="x")
    axis.set_ylabel(MEASURES[measure])
    title(axis, f"{MEASURES[measure]} per class, role {role}")


def _tick(code: str, scores: Sequence[Mapping[str, Any]], role: str) -> str:
    """A class with its number of images, where all runs have the same."""
    supports = {metrics["roles"][role]["per_class"][code]["support"] for metrics in scores}
    return f"{code}\nn = {supports.pop()}" if len(supports) == 1 else code


def _whisker(axis: Axes, value: Mapping[str, float | None], place: float, *, across: bool) -> None:
    """The interval, where there is one."""
    low, high = value.get("low"), value.get("high")
    if low is None or high is None:
        return
    ends, places = (low, high), (place, place)
    x, y = (places, ends) if across else (ends, places)
    axis.plot(x, y, color="white", linewidth=3.4, solid_capstyle="butt")  # a halo, to show on any bar
    axis.plot(x, y, color="black", linewidth=1.4, gid="interval", solid_capstyle="butt")


def _legend(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
