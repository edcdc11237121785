"""The paper's figures again, forest plots of the questions, and pictures on an unpublished page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from dermlens.data.predictions import arrays, classes_of
from dermlens.data.table import read_table
from dermlens.files import write_text
from dermlens.labels import CLASSES, full_name
from dermlens.predict.pictures.preprocessing import crop_window, read_image
from dermlens.report.curves import roc_curves
from dermlens.report.gallery import thumbnail
from dermlens.report.plots import (
    BLACK,
    BLUE,
    DPI,
    GREY,
    ORANGE,
    confusion_matrix,
    data_uri,
    panels,
    plain_log_ticks,
    run_mark,
    title,
)
from paper.report.cells import Cell, Measured, Training

# The paper's figures again, and a forest plot for each question.


WORDS = {"accuracy": "accuracy", "mean_recall": "mean recall"}


def two_by_two() -> Figure:
    """Figure 8: a 2×2 confusion matrix, and what its cells are called."""
    figure, [axis] = panels(height=3.4, width=4.6)
    axis.grid(False)
    names = (("true positive", "false negative"), ("false positive", "true negative"))
    for row in range(2):
        for column in range(2):
            axis.add_patch(
                Rectangle(
                    (column, row), 1, 1, facecolor="#d6e8f5" if row == column else "white", edgecolor=BLACK
                )
            )
            short = "".join(word[0].upper() for word in names[row][column].split())
            axis.text(column + 0.5, row + 0.4, short, ha="center", va="center", fontsize=16)
            axis.text(column + 0.5, row + 0.7, names[row][column], ha="center", va="center", fontsize=9)
    axis.set_xlim(0, 2)
    axis.set_ylim(2, 0)
    axis.set_xticks([0.5, 1.5], ["the class", "another"])
    axis.set_yticks([0.5, 1.5], ["the class", "another"])
    axis.set_xlabel("the model named")
    axis.set_ylabel("true class")
    title(axis, "A class against the rest")
    return figure


def area_under_curve() -> Figure:
    """Figure 9: a ROC curve and the area under it."""
    figure, [axis] = panels(height=4.2, width=4.6)
    x = np.linspace(0, 1, 200)
    y = x**0.25
    axis.fill_between(x, y, color="#d6e8f5", linewidth=0)
    axis.plot(x, y, color=BLUE, linewidth=2)
    axis.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    axis.text(0.55, 0.35, "area under the curve:\nhow often an image of the class\ngets the higher score",
              ha="center", va="center", fontsize=9)  # fmt: skip
    axis.set_xlabel("1 − specificity")
    axis.set_ylabel("sensitivity (recall)")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.set_aspect("equal")
    title(axis, "The area under a ROC curve")
    return figure


def notebook_confusion(notebook: str) -> Figure:
    """Figures 10 and 11: the matrix that a notebook printed."""
    text = files("paper").joinpath("printed/confusions.csv")
    with text.open(encoding="utf-8") as file:
        table = pd.read_csv(file)
    own = table[table["notebook"] == notebook].set_index("true")
    return confusion_matrix(own.loc[list(CLASSES), list(CLASSES)].to_numpy(), CLASSES)


def our_confusion(training: Training) -> Figure:
    """The same of a training of ours."""
    return confusion_matrix(training.scores["confusion"], classes_of(training.predictions))


def our_roc(training: Training) -> Figure:
    """Figures 16 and 17 of a training of ours."""
    classes = classes_of(training.predictions)
    target_N, p_NC = arrays(training.predictions, classes)
    return roc_curves(np.array(classes)[target_N], p_NC, classes)


def curves(
    authors: pd.DataFrame, ours: Mapping[int, pd.DataFrame], keras: Mapping[int, pd.DataFrame], needs: str
) -> Figure:
    """Training loss and accuracy by epoch: the authors' whole run at the left, first epochs at the right.

    Args:
        authors: their log.
        ours: histories by seed.
        keras: those of Keras from our start.
        needs: what ours lacks, where there is none.
    """
    figure = Figure(figsize=(8.4, 5.2), dpi=DPI, layout="constrained", facecolor="white")
    axes = figure.subplots(2, 2, sharey="row")
    lines = itertools.cycle(("-", "--", ":"))
    drawn = [(f"ours, seed {seed}", history, BLUE, next(lines)) for seed, history in ours.items()]
    drawn += [(f"Keras from our start, seed {seed}", own, ORANGE, "--") for seed, own in keras.items()]
    first = authors.head(max((len(history) for _, history, _, _ in drawn), default=0))
    sides: tuple[list[tuple[str, pd.DataFrame, str, str]], ...] = (
        [("the authors", authors, BLACK, "-")],
        [*drawn, ("the authors", first, BLACK, "-")] if drawn else [],
    )
    for row, column in enumerate(("train_loss", "train_accuracy")):
        for axis, side in zip(axes[row], sides, strict=True):
            for label, history, color, line in side:
                axis.plot(
                    history["epoch"] + 1, history[column], line, color=color, linewidth=1.4, marker=".",
                    markersize=4, label=label,
                )  # fmt: skip
            axis.set_xlabel("epoch")
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(color="#dddddd", linewidth=0.6)
            if side:
                axis.legend(fontsize=8, frameon=False)
            else:
                axis.text(0.5, 0.5, needs, ha="center", va="center", fontsize=9, transform=axis.transAxes)
    axes[0, 0].set_yscale("log")
    plain_log_ticks(axes[0, 0].yaxis)
    axes[1, 0].set_ylim(0, 1)
    for axis, words in zip(
        axes[0], ("The authors' notebook: training loss", "Here: training loss"), strict=True
    ):
        title(axis, words)
    for axis in axes[1]:
        title(axis, "Training accuracy")
    return figure


def notebook_areas(notebooks: Mapping[str, Mapping[str, str]], notebook: str) -> Figure:
    """Figures 16 and 17 as far as they are kept: the areas; no notebook stores its curves."""
    figure, [axis] = panels(height=2.6, width=4.6)
    values = [float(notebooks[notebook][f"auc_{code}"]) for code in CLASSES]
    axis.plot(values, range(len(CLASSES)), "o", color=BLUE)
    for place, value in enumerate(values):
        axis.text(value - 0.002, place - 0.1, f"{value:.3f}", ha="right", va="bottom", fontsize=8)
    axis.set_yticks(range(len(CLASSES)), CLASSES)
    axis.set_ylim(len(CLASSES) - 0.5, -0.7)
    axis.set_xlim(0.92, 1.0)
    title(axis, f"Area under the ROC curve, {notebook}")
    return figure


def by_class(cells: Sequence[Cell], words: str) -> Figure:
    """Figures 12 to 15: a number by class, with augmented data and with metadata.

    Args:
        cells: of two rows of Table A3 or A4, one whose heading ends in AD and one in MD.
        words: what the number is.
    """
    figure, [axis] = panels(height=3.6, width=6.4)
    series = [(kind, source) for kind in ("AD", "MD") for source in ("printed", "notebook", "ours")]
    drawn = {one: values for one in series if any(values := _by_class(cells, *one))}
    width = 0.8 / max(len(drawn), 1)
    for index, ((kind, source), values) in enumerate(drawn.items()):
        places = [place - 0.4 + width * (index + 0.5) for place in range(len(CLASSES))]
        look = run_mark(0 if kind == "AD" else 1)
        axis.bar(
            places, values, width, color=look.color if source == "printed" else "white", edgecolor=look.color,
            hatch={"printed": "", "notebook": "////", "ours": "...."}[source], label=f"{kind}, {source}",
        )  # fmt: skip
    axis.set_xticks(range(len(CLASSES)), CLASSES)
    axis.set_ylim(0, 1)
    axis.set_ylabel(words)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    title(axis, f"{words[0].upper()}{words[1:]} per class")
    return figure


def forest(rows: pd.DataFrame, labels: Sequence[str]) -> Figure:
    """The differences of a question, in points, with what would matter as a band.

    Args:
        rows: of `measure_contrasts`, or of `measure_repeats` with its margin as `matters`; one measure.
        labels: of the rows.
    """
    figure, [axis] = panels(height=1.3 + 0.32 * len(rows), width=7.6)
    matters = 100 * float(rows["matters"].iloc[0])
    axis.axvspan(-matters, matters, color="#ececec", linewidth=0)
    places = list(range(len(rows)))
    axis.hlines(places, 100 * rows["low"], 100 * rows["high"], color=BLUE, linewidth=1.8, gid="interval")
    shown = ~rows["verdict"].isin(("inconclusive", "undecided"))
    for sure, marker, color in ((True, "o", BLUE), (False, "s", ORANGE)):
        own = [place for place in places if shown.iloc[place] == sure]
        axis.plot(
            100 * rows["difference"].iloc[own], own, marker, color=color, linestyle="none",
            label="decided" if sure else "undecided",
        )  # fmt: skip
    axis.axvline(0, color=BLACK, linewidth=0.9)
    axis.set_yticks(places, list(labels))
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.grid(False, axis="y")
    axis.set_xlabel(
        f"difference of {WORDS[str(rows['measure'].iloc[0])]}, points\ngrey: less than would matter"
    )
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure


def forest_in_words(rows: pd.DataFrame, labels: Sequence[str]) -> str:
    """What `forest` shows, for who does not see it: each difference, its interval and the verdict."""
    rows_in_words = []
    for label, row in zip(labels, rows.to_dict("records"), strict=True):
        difference, low, high = (_points(row[name]) for name in ("difference", "low", "high"))
        rows_in_words.append(f"{label}: {difference} [{low}, {high}], {row['verdict']}")
    return f"Differences of {WORDS[str(rows['measure'].iloc[0])]} in points. {'; '.join(rows_in_words)}."


def _points(share: float) -> str:
    """`+1.9`: a difference of shares in points, with the minus sign that is read as one."""
    return f"{100 * share:+.1f}".replace("-", "−")


def _by_class(cells: Sequence[Cell], kind: str, source: str) -> list[float]:
    own = {cell.column: cell for cell in cells if cell.row.endswith(f" {kind}")}
    found = []
    for code in CLASSES:
        cell = own[code]
        if source == "ours":
            found.append(cell.ours.value if cell.ours is not None else 0.0)
        else:
            found.append(float((cell.printed if source == "printed" else cell.notebook_value) or 0.0))
    return found


# The figures that show patients' images, on a page of their own that is not published.
#
# Figure 1: an image of each class. Figure 18: nevi and melanomas that the best network trained here tells
# apart, and such as it takes for each other.


SIDE = 224
EACH = 3
PAIR = ("nv", "mel")


def write_annex(path: Path, measured: Measured, data: Path, environment: Environment) -> None:
    """Write the page.

    Args:
        path: of it.
        measured: for the best network; without one Figure 18 is left out.
        data: the folder of HAM10000.
        environment: of the templates.

    Raises:
        UserError: the folder is none of labelled images, or an image cannot be read.
    """
    table = read_table(data).set_index("image_id", drop=False)
    examples = [
        _picture(table, str(table.index[table["dx"] == code][0]), full_name(code))
        for code in CLASSES
        if (table["dx"] == code).any()
    ]
    best = _best(measured)
    groups = [] if best is None else _confusable(best[1], table)
    name = None if best is None else measured.systems[best[0]].about
    page = environment.get_template("annex.html.j2").render(examples=examples, groups=groups, network=name)
    write_text(path, page)


def _best(measured: Measured) -> tuple[str, Training] | None:
    """The training of the highest mean recall, and its system."""
    found = [(system, one) for system, trainings in measured.trainings.items() for one in trainings[:1]]
    return max(
        found, key=lambda pair: pair[1].scores["overall"]["balanced_accuracy_isic"]["value"], default=None
    )


def _confusable(training: Training, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The surest right and wrong answers on nevi and melanomas."""
    rows = training.predictions[training.predictions["image_id"].isin(table.index)]
    classes = classes_of(rows)
    _, p_NC = arrays(rows, classes)
    named = np.array(classes)[p_NC.argmax(axis=1)]
    groups = []
    for true in PAIR:
        for name in PAIR:
            own = rows[(rows["target"] == true) & (named == name)].nlargest(EACH, f"p_{name}")
            words = f"{full_name(true)}, named {full_name(name)}"
            pictures = [
                _picture(table, row["image_id"], f"{row[f'p_{name}']:.2f}") for _, row in own.iterrows()
            ]
            groups.append({"words": words, "pictures": pictures})
    return groups


def _picture(table: pd.DataFrame, image: str, words: str) -> dict[str, str]:
    pixels = crop_window(read_image(Path(str(table.loc[image, "path"]))), "center")
    return {"uri": data_uri(thumbnail(pixels, SIDE), "jpeg"), "alt": f"{image}: {words}", "words": words}
