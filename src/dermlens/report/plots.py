"""One look for every figure, and plain ones: confusion matrices, classes and metadata."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import ArrayLike

from dermlens.errors import UserError
from dermlens.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd


# One look for every figure: colours that colour-blind readers can tell apart, never colour alone.
#
# The palette is that of Okabe and Ito (2008, "Color Universal Design") without its yellow, which is too pale
# on white. Every class and role also has a line style or a marker of its own. Figures are drawn without
# pyplot, so nothing global changes.


BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#595959"

WIDTH = 5.4  # inches; two stand side by side in the report, one fills a phone without becoming unreadable
DPI = 150


@dataclass(frozen=True, slots=True)
class Mark:
    """How one series looks: colour, line style, marker, hatch."""

    color: str
    line: Any
    marker: str
    hatch: str = ""


_MARKS = (
    Mark(PURPLE, (0, (1, 1)), "v"),
    Mark(ORANGE, "-", "s", "//"),
    Mark(GREEN, (0, (5, 1.5)), "D", ".."),
    Mark(BLACK, (0, (3, 1, 1, 1)), "P", "xx"),
    Mark(VERMILION, "-", "o", "\\\\"),
    Mark(BLUE, (0, (6, 2)), "^", "oo"),
    Mark(SKY, (0, (2, 1)), "X", "--"),
)
_ROLES = {
    "train": Mark(BLACK, "-", "o"),
    "selection": Mark(ORANGE, (0, (5, 1.5)), "s"),
    "calibration": Mark(GREEN, (0, (1, 1)), "D"),
    "test": Mark(BLUE, (0, (3, 1, 1, 1)), "^"),
}


def class_mark(index: int) -> Mark:
    """The look of the class at `index`; of the seven, melanoma is vermilion and nevus blue."""
    turn, place = divmod(index, len(_MARKS))
    mark = _MARKS[place]
    return mark if turn == 0 else Mark(mark.color, _MARKS[(place + turn) % len(_MARKS)].line, mark.marker)


def role_mark(role: str, index: int = 0) -> Mark:
    """The look of a role; one that is not of the split takes a class's."""
    return _ROLES.get(role) or class_mark(index)


def run_mark(index: int) -> Mark:
    """The look of the run at `index` of a comparison."""
    order = (BLUE, ORANGE, GREEN, PURPLE, SKY, GREY)
    hatches = ("", "//", "..", "\\\\", "xx", "--")
    return Mark(order[index % 6], "-", "o", hatches[index % 6])


def panels(
    rows: int = 1, *, height: float = 3.9, width: float = WIDTH, ratios: Sequence[float] | None = None
) -> tuple[Figure, list[Axes]]:
    """An empty figure with axes one above the other, in the house look.

    Args:
        rows: how many axes.
        height: of the whole, in inches.
        width: of the whole, in inches.
        ratios: heights of the axes relative to each other.

    Returns:
        The figure and its axes, from top to bottom.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    grid = figure.subplots(rows, 1, squeeze=False, gridspec_kw={"height_ratios": ratios or [1.0] * rows})
    axes = [grid[row, 0] for row in range(rows)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=9, length=3)
    return figure, axes


def plain_log_ticks(axis: Axis) -> None:
    """Write the ticks of a logarithmic axis out as numbers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def title(axis: Axes, words: str) -> None:
    """A heading at the left, above the axes."""
    axis.set_title(words, loc="left", fontsize=10.5, fontweight="bold")


def legend_below(figure: Figure, axis: Axes, *, columns: int = 2, **words: Any) -> None:
    """What one axis shows, named below the whole figure; `words` as for `Figure.legend`."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False, **words
    )


def render(figure: Figure, kind: Literal["svg", "png"]) -> bytes:
    """The figure as bytes: the same figure gives the same bytes."""
    for words in figure.findobj(Text):
        words.set_parse_math(False)  # a dollar in a run's or a class's name is a dollar
    buffer = io.BytesIO()
    # Letters as outlines: the page looks the same on a machine without the font.
    with mpl.rc_context({"svg.hashsalt": "dermlens", "svg.fonttype": "path"}):
        metadata: dict[str, Any] = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        # A light compression: a gallery of photographs takes seconds with the usual one and gains little.
        extra: dict[str, Any] = {"pil_kwargs": {"compress_level": 3}} if kind == "png" else {}
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata, **extra)
    return buffer.getvalue()


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure, whole or not at all, in the form its name asks for.

    Raises:
        UserError: the name ends in neither .svg nor .png.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("svg", "png"):
        raise UserError(f"figure {path}: figures are written as .svg or .png")
    with atomic_path(path) as part:
        part.write_bytes(render(figure, "svg" if kind == "svg" else "png"))
    return path


def data_uri(content: bytes, kind: Literal["svg+xml", "png", "jpeg"]) -> str:
    """A picture as an address that holds the picture itself."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


# The confusion matrix: counts and row percent (the paper's Figures 10, 11).


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


# What the data look like: classes and metadata, per role.


AGE_BIN = 5


def class_distribution(counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> Figure:
    """Images per class and role, on a logarithmic axis: dots, because a bar's length means nothing there.

    Args:
        counts: role → class → images.
        classes: the order, from top to bottom.

    Returns:
        A figure with one series of dots a role; classes without an image have no dot.
    """
    figure, [axis] = panels(height=1.5 + 0.34 * len(classes))
    for index, (role, of_class) in enumerate(counts.items()):
        mark = role_mark(role, index)
        shift = _apart(index, len(counts))
        seen = [(row + shift, of_class[code]) for row, code in enumerate(classes) if of_class.get(code)]
        axis.plot(
            [n for _, n in seen],
            [row for row, _ in seen],
            mark.marker,
            color=mark.color,
            markersize=6,
            label=role,
            linestyle="none",
        )
    axis.set_xscale("log")
    plain_log_ticks(axis.xaxis)
    axis.set_yticks(range(len(classes)), list(classes))
    axis.set_ylim(len(classes) - 0.5, -0.5)
    axis.set_xlabel("images (logarithmic)")
    title(axis, "Images per class and role")
    legend_below(figure, axis, columns=4)
    return figure


def metadata_distribution(people: pd.DataFrame) -> Figure:
    """Age, sex and site of the images of each role, as shares of the role.

    Args:
        people: columns role, age (years, may be missing), sex, site; one row an image.

    Returns:
        A figure of three axes: age (5-year bins), sex, site. Missing ages are left out of the first and
        counted in its title.
    """
    sites = people["site"].value_counts().index.tolist()
    sexes = sorted(people["sex"].unique())
    figure, (age, sex, site) = panels(
        3, height=4.6 + 0.24 * (len(sites) + len(sexes)), ratios=[9, 1 + len(sexes), 1 + len(sites)]
    )
    known = people["age"].notna()
    oldest = max(float(people.loc[known, "age"].max()) if known.any() else 0.0, 85.0)
    edges = np.arange(0, oldest + 2 * AGE_BIN, AGE_BIN)
    roles = list(people.groupby("role", sort=False))
    for index, (role, rows) in enumerate(roles):
        mark = role_mark(str(role), index)
        ages = rows["age"].dropna().to_numpy(float)
        if ages.size:
            share = np.histogram(ages, edges)[0] / ages.size
            age.stairs(share, edges, color=mark.color, linestyle=mark.line, linewidth=1.7, label=str(role))
        shift = _apart(index, len(roles))
        _shares(sex, rows["sex"], sexes, str(role), index, shift)
        _shares(site, rows["site"], sites, str(role), index, shift)
    age.set_xlabel("age, years")
    age.set_ylabel("share of images")
    title(age, f"Age ({int((~known).sum())} of {len(people)} images without one)")
    title(sex, "Sex")
    title(site, "Site")
    site.set_xlabel("share of images")
    legend_below(figure, site, columns=4)
    return figure


def _shares(axis: Axes, values: pd.Series, order: Sequence[str], role: str, index: int, shift: float) -> None:
    share = values.value_counts(normalize=True)
    mark = role_mark(role, index)
    axis.plot(
        [float(share.get(value, 0.0)) for value in order],
        [row + shift for row in range(len(order))],
        mark.marker,
        color=mark.color,
        label=role,
        linestyle="none",
    )
    axis.set_yticks(range(len(order)), list(order))
    axis.set_ylim(len(order) - 0.5, -0.5)
    axis.set_xlim(0, max(axis.get_xlim()[1], 1.06 * float(share.max())))


def _apart(index: int, many: int) -> float:
    """Where in its row a role's dot sits, so that equal values do not hide each other."""
    return 0.14 * (index - (many - 1) / 2)
