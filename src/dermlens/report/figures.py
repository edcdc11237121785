"""The figures of a report, and bars that compare runs: drawn, saved, ready to stand inside the page."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dermlens.errors import UserError
from dermlens.files import atomic_path
from dermlens.records import NONE, Metrics
from dermlens.records import estimate_text as estimate
from dermlens.report.curves import (
    decision_curve,
    precision_recall_curves,
    reliability_diagram,
    roc_curves,
    training_curves,
)
from dermlens.report.detection_tables import DETECTION
from dermlens.report.plots import (
    BLUE,
    class_distribution,
    class_mark,
    confusion_matrix,
    data_uri,
    legend_below,
    metadata_distribution,
    panels,
    render,
    run_mark,
    save_figure,
    title,
)
from dermlens.report.tables import in_role_order
from dermlens.runs import Run

if TYPE_CHECKING:
    import pandas as pd


# Bars per class: one run with its intervals, or several side by side (the paper's Figures 12–15).


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


def save_comparison(runs: Sequence[Run], path: Path, roles: Collection[str]) -> Path:
    """Draw recall and F1 per class of several runs into one figure.

    Args:
        runs: evaluated runs.
        path: .svg or .png to write.
        roles: those that may be looked at; a comparison leaves a sealed test out.

    Raises:
        UserError: a run has no metrics, the runs cannot be compared, or the name is not .svg or .png.
    """
    scores = [run.metrics for run in runs]
    role = common_role(scores, roles)
    names = [run.path.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.path) for run in runs]
    figure, axes = panels(2, height=7.2, width=7.2)
    for axis, measure in zip(axes, ("recall", "f1"), strict=True):
        _draw_bars(axis, scores, names, measure, role)
    legend_below(figure, axes[0])
    return save_figure(figure, path)


def common_role(scores: Sequence[Metrics], roles: Collection[str] | None = None) -> str:
    """The role to compare on: the first of test, calibration, selection, others that every run has scored.

    Args:
        scores: of the runs.
        roles: those that may be looked at; none for all.

    Raises:
        UserError: there is none, or the classes differ.
    """
    if any(list(metrics.classes) != list(scores[0].classes) for metrics in scores):
        raise UserError("these runs do not know the same classes, so their bars cannot stand side by side")
    shared = [role for role in scores[0].roles if all(role in metrics.roles for metrics in scores)]
    shared = [role for role in shared if roles is None or role in roles]
    if not shared:
        raise UserError("these runs have no scored role in common; `dermlens evaluate` scores a run")
    return in_role_order(shared)[0]


def _draw_bars(axis: Axes, scores: Sequence[Metrics], names: Sequence[str], measure: str, role: str) -> None:
    classes = list(scores[0].classes)
    width = 0.82 / len(scores)
    ticks = []  # a class with its number of images, where all runs have the same
    for code in classes:
        supports = {metrics.roles[role]["per_class"][code]["support"] for metrics in scores}
        ticks.append(f"{code}\nn = {supports.pop()}" if len(supports) == 1 else code)
    for index, (metrics, name) in enumerate(zip(scores, names, strict=True)):
        mark = run_mark(index)
        labelled = False
        for place, code in enumerate(classes):
            value = metrics.roles[role]["per_class"][code][measure]
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
    axis.set_xticks(range(len(classes)), ticks)
    axis.set_ylim(0, 1.02)
    axis.grid(False, axis="x")
    axis.set_ylabel(MEASURES[measure])
    title(axis, f"{MEASURES[measure]} per class, role {role}")


def _whisker(axis: Axes, value: Mapping[str, float | None], place: float, *, across: bool) -> None:
    """The interval, where there is one."""
    low, high = value.get("low"), value.get("high")
    if low is None or high is None:
        return
    ends, places = (low, high), (place, place)
    x, y = (places, ends) if across else (ends, places)
    axis.plot(x, y, color="white", linewidth=3.4, solid_capstyle="butt")  # a halo, to show on any bar
    axis.plot(x, y, color="black", linewidth=1.4, gid="interval", solid_capstyle="butt")


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure inside the page.

    Attributes:
        uri: the picture itself, as a data address.
        alt: what it shows, for who does not see it.
        name: of its file under figures/.
        width: in CSS pixels, at which its letters have their size.
    """

    uri: str
    alt: str
    name: str
    width: int


@dataclass(frozen=True, slots=True)
class Album:
    """Draws figures into one folder.

    Attributes:
        folder: where the files go.
    """

    folder: Path

    def add(self, name: str, figure: Figure, alt: str) -> Picture:
        """Save a figure as `name`.svg and make a picture of it."""
        content = render(figure, "svg")
        with atomic_path(self.folder / f"{name}.svg") as part:
            part.write_bytes(content)
        width = round(figure.get_size_inches()[0] * 96)
        return Picture(data_uri(content, "svg+xml"), alt, f"{name}.svg", width)


def recall_picture(album: Album, scores: Mapping[str, Any], sought: Sequence[str]) -> Picture:
    """Recall per class."""
    caption = ", ".join(f"{code} {estimate(row['recall'])}" for code, row in scores["per_class"].items())
    bars = recall_bars(scores["per_class"], sought)
    return album.add("recall", bars, f"Bars of the recall of each class: {caption}.")


def confusion_picture(album: Album, scores: Mapping[str, Any], classes: Sequence[str]) -> Picture:
    """The confusion matrix."""
    alt = (
        "Confusion matrix, true classes in rows and named ones in columns; the table below holds its numbers."
    )
    return album.add("confusion", confusion_matrix(scores["confusion"], classes), alt)


def curve_pictures(
    album: Album, scores: Mapping[str, Any], predictions: pd.DataFrame, classes: Sequence[str]
) -> dict[str, Picture]:
    """ROC and precision–recall of the predictions of one role."""
    p_NC = predictions[[f"p_{code}" for code in classes]].to_numpy(float)
    target_N = predictions["target"].to_numpy(str)
    caption = {
        measure: ", ".join(
            f"{code} {estimate(row.get(measure), 3)}" for code, row in scores["per_class"].items()
        )
        for measure in ("auc", "average_precision")
    }
    return {
        "roc": album.add(
            "roc", roc_curves(target_N, p_NC, classes), f"ROC curves; areas under them: {caption['auc']}."
        ),
        "precision_recall": album.add(
            "precision_recall",
            precision_recall_curves(target_N, p_NC, classes),
            f"Precision–recall curves; average precision: {caption['average_precision']}.",
        ),
    }


def reliability_picture(album: Album, scores: Mapping[str, Any]) -> Picture:
    """The reliability diagram."""
    ece = estimate(scores["overall"].get("ece"), 3)
    alt = f"Reliability diagram; expected calibration error {ece}; the table holds its bins."
    return album.add("reliability", reliability_diagram(scores["reliability"]), alt)


def decision_pictures(album: Album, scores: Mapping[str, Any]) -> list[Picture]:
    """A decision curve for everything that is detected."""
    pictures = []
    for name, found in scores.get("detection", {}).items():
        if found.get("net_benefit"):
            words = DETECTION.get(name, name)
            alt = f"Net benefit over thresholds for {words}; the table of net benefit has its numbers."
            figure = decision_curve(found["net_benefit"], words)
            pictures.append(album.add(f"decision_{name}", figure, alt))
    return pictures


def training_picture(album: Album, history: pd.DataFrame, kept: int | None) -> Picture:
    """Training curves."""
    of_kept = f"; epoch {kept} was kept" if kept is not None else ""
    alt = f"Loss, accuracy, mean recall and learning rate over {len(history)} epochs{of_kept}."
    return album.add("training", training_curves(history, kept), alt)


def class_picture(album: Album, counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> Picture:
    """Images per class and role."""
    alt = "Dots: images per class and role on a logarithmic axis; the table has the counts."
    return album.add("classes", class_distribution(counts, classes), alt)


def metadata_picture(album: Album, people: pd.DataFrame) -> Picture:
    """Age, sex and site per role."""
    ages = [
        f"{role} {rows['age'].median():.0f} years"
        for role, rows in people.groupby("role", sort=False)
        if rows["age"].notna().any()
    ]
    caption = f" Median age: {', '.join(ages)}." if ages else ""
    alt = f"Age, sex and site of the images of each role, as shares.{caption}"
    return album.add("metadata", metadata_distribution(people), alt)
