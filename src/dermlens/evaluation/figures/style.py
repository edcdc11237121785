"""One look for every figure: colours that colour-blind readers can tell apart, never colour alone.

The palette is that of Okabe and Ito (2008, "Color Universal Design") without its yellow, which is too pale on
white. Every class and role also has a line style or a marker of its own. Figures are drawn without pyplot, so
nothing global changes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dermlens.atomic import atomic_path
from dermlens.errors import UserError

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
        width: likewise.
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
