"""The figures of a report: drawn, saved into the run's folder, and ready to stand inside the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from dermlens.atomic import atomic_path
from dermlens.evaluation.figures.bars import recall_bars
from dermlens.evaluation.figures.calibration import decision_curve, reliability_diagram
from dermlens.evaluation.figures.confusion import confusion_matrix
from dermlens.evaluation.figures.curves import precision_recall_curves, roc_curves, training_curves
from dermlens.evaluation.figures.data import class_distribution, metadata_distribution
from dermlens.evaluation.figures.style import data_uri, render
from dermlens.evaluation.report.detection import DETECTION
from dermlens.evaluation.report.numbers import estimate

if TYPE_CHECKING:
    import pandas as pd


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
    said = ", ".join(f"{code} {estimate(row['recall'])}" for code, row in scores["per_class"].items())
    bars = recall_bars(scores["per_class"], sought)
    return album.add("recall", bars, f"Bars of the recall of each class: {said}.")


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
    said = {
        measure: ", ".join(
            f"{code} {estimate(row.get(measure), 3)}" for code, row in scores["per_class"].items()
        )
        for measure in ("auc", "average_precision")
    }
    return {
        "roc": album.add(
            "roc", roc_curves(target_N, p_NC, classes), f"ROC curves; areas under them: {said['auc']}."
        ),
        "precision_recall": album.add(
            "precision_recall",
            precision_recall_curves(target_N, p_NC, classes),
            f"Precision–recall curves; average precision: {said['average_precision']}.",
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
    said = f" Median age: {', '.join(ages)}." if ages else ""
    alt = f"Age, sex and site of the images of each role, as shares.{said}"
    return album.add("metadata", metadata_distribution(people), alt)
