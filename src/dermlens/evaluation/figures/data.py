"""What the data look like: classes and metadata, per role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dermlens.evaluation.figures.style import panels, plain_log_ticks, role_mark, title

if TYPE_CHECKING:
    import pandas as pd

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
    _legend_below(figure)
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
    handles, labels = site.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
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


def _legend_below(figure: Figure) -> None:
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
