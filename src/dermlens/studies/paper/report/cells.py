"""The cells of the paper's tables: printed, in the notebook behind it, and ours."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib.resources import files
from typing import Literal

from dermlens.studies.paper.report.ours import Measured, Ours

Agreement = Literal["equal", "near", "other", "short", ""]

MARKS: dict[Agreement, str] = {"equal": "✓", "near": "≈", "other": "≠", "short": "…", "": ""}
EXACT = ("images", "trainable_parameters", "depth")
"""Counts, which are equal or not."""
TIMES = ("seconds_per_epoch", "latency_ms")
"""Of another machine each: there is nothing to agree."""
Z = 1.96


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell.

    Attributes:
        table, row, column: as the article has them; table such as `table_5`.
        printed: as printed, or empty.
        system: that ours is of: its id, `uncut/<backbone>`, or empty.
        notebook: the authors' notebook behind it, or empty.
        notebook_value: what it printed, or empty.
        notebook_agrees: with the printed value.
        ours: what was measured here, or none.
        ours_agrees: with the printed value, or where there is none with the notebook's.
        needs: what a cell that was not run would take.
        metric: of all three.
        note: what there is to say of it.
    """

    table: str
    row: str
    column: str
    printed: str
    system: str
    notebook: str
    notebook_value: str
    notebook_agrees: Agreement
    ours: Ours | None
    ours_agrees: Agreement
    needs: str
    metric: str
    note: str


def read_cells(measured: Measured, images: int) -> list[Cell]:
    """Every printed cell beside ours.

    Args:
        measured: here.
        images: of the authors' evaluation, for the noise of a printed share.
    """
    text = files("dermlens.studies.paper").joinpath("printed/tables.csv").read_text(encoding="utf-8")
    return [_cell(entry, measured, images) for entry in csv.DictReader(text.splitlines())]


def rounds_to(value: float, printed: str) -> bool:
    """Whether a value is what was printed, rounded to as many digits; a half goes either way."""
    digits = -int(Decimal(printed).as_tuple().exponent)
    return abs(value - float(printed)) <= 0.5 * 10.0**-digits + 1e-9


def agreement(ours: Ours, printed: str, metric: str, images: int) -> Agreement:
    """How a number of ours stands to a printed one.

    Args:
        ours: the number.
        printed: as printed.
        metric: of both.
        images: of the authors' evaluation.

    Returns:
        `equal` once rounded; `near` where the printed one lies in our interval, or ours within the sampling
        error of a share of so many images (1.96 standard errors); else `other`. `short` where less was
        trained.
    """
    if metric in TIMES:
        return ""
    if ours.short:
        return "short"
    if rounds_to(ours.value, printed):
        return "equal"
    if metric in EXACT:
        return "other"
    value = float(printed)
    if ours.low is not None and ours.high is not None and ours.low <= value <= ours.high:
        return "near"
    if 0 < value < 1:
        error = Z * math.sqrt(value * (1 - value) / images)
        return "near" if abs(ours.value - value) <= error else "other"
    return "other"


def columns_of(cells: Sequence[Cell]) -> list[str]:
    """The columns of a table, in the order of the article."""
    return list(dict.fromkeys(cell.column for cell in cells))


def _cell(entry: dict[str, str], measured: Measured, images: int) -> Cell:
    printed, other = entry["printed"], entry["notebook_value"]
    ours = measured.of(entry["system"], entry["metric"], entry["row"])
    against = printed or other
    return Cell(
        table=entry["table"],
        row=entry["row"],
        column=entry["column"],
        printed=printed,
        system=entry["system"],
        notebook=entry["notebook"],
        notebook_value=other,
        notebook_agrees=_of_notebook(printed, other, entry["metric"]),
        ours=ours,
        ours_agrees="" if ours is None or not against else agreement(ours, against, entry["metric"], images),
        needs="" if ours is not None else measured.needs(entry["system"]),
        metric=entry["metric"],
        note=entry["note"],
    )


def _of_notebook(printed: str, value: str, metric: str) -> Agreement:
    if not printed or not value or metric in TIMES:
        return ""
    return "equal" if rounds_to(float(value), printed) else "other"
