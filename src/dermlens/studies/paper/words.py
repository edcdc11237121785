"""The plan of the study, and runs made again, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table

from dermlens.studies.paper.again import beside
from dermlens.studies.paper.plan import Planned, hours_left, say_hours
from dermlens.studies.paper.study import Job

SCALE = (
    "The experiments train MobileNetV3-Small at 96 px for eight epochs, on three folds with one seed. They"
    " can show what a change does to that network, where it is four to six points of mean recall or more;"
    " they cannot show that it does the same to networks up to eighty times as large, at 224 to 331 px."
)

HOURS = (
    "Hours: what is left of a run, by itself, on the machine that measured: of an experiment's arm as long as"
    " its finished arms took, of a system by a few of its own steps on the processor, where it needs a GPU"
    " too. Unknown: nobody has measured it."
)


def render_plan(rows: Sequence[Planned]) -> RenderableType:
    """Every run with its state, what is left in hours, and what this scale can show."""
    table = Table(box=None, pad_edge=False)
    for column in ("run", "state", "hours left", "note"):
        table.add_column(
            column, justify="right" if column == "hours left" else "left", no_wrap=column == "run"
        )
    for row in rows:
        table.add_row(row.job.id, row.state, _hours(row), row.note)
    return Group(table, "", _sum(rows), HOURS, SCALE)


def render_again(jobs: Sequence[Job], out: Path, results: Path) -> RenderableType:
    """The scores of runs that were made again, beside those published."""
    found = [row for job in jobs for row in beside(job, out, results)]
    if not found:
        return "nothing of this is published yet, to set it beside"
    table = Table(box=None, pad_edge=False)
    for column in ("run", "measure", "again", "published", "inside its interval"):
        table.add_column(column)
    for row in found:
        published = f"{row.published:.3f} [{row.low:.3f}–{row.high:.3f}]"
        table.add_row(row.job, row.measure, f"{row.value:.3f}", published, "yes" if row.is_inside else "no")
    return table


def _hours(row: Planned) -> str:
    if row.state == "done":
        return ""
    if row.hours is None:
        return "unknown"
    return "< 0.1" if row.hours < 0.05 else f"{row.hours:.1f}"  # 0.0 is of what is done


def _sum(rows: Sequence[Planned]) -> str:
    counts = Counter(row.state for row in rows)
    states = ", ".join(f"{count} {state}" for state, count in counts.items())
    left = say_hours(*hours_left(rows))
    return f"{len(rows)} runs: {states}. Hours of what is to do, one run after the other: {left}."
