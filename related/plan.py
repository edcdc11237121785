"""How far each run is, and how many hours the rest would take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from rich.table import Table

from dermlens.runs import Run
from paper.plan import Folders, say_hours
from paper.study import read_record
from related.study import Job, Study, System

State = Literal["done", "to do"]
RECORD = "record.json"
"""What a classical fold leaves when it is done, as run.json is what a training leaves."""
PREDICTIONS = "predictions.csv"
SCORED = "images_scored"
"""In a record, how many images the predictions are of."""
RUNS = "runs.json"
"""Of what is published: seconds, parameters and machine by `<system>/seed-<k>`."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A job and how far it is.

    Attributes:
        job: the job.
        state: of it.
        hours: what is left of it, by what the others of its system took; none where nobody measured.
        note: what it waits for.
        guessed: whether none of its system is done, and the hours are those of other systems of its kind.
    """

    job: Job
    state: State
    hours: float | None
    note: str = ""
    guessed: bool = False


def plan(study: Study, jobs: Sequence[Job], folders: Folders) -> list[Planned]:
    """The state of every job, in their order."""
    measured = {name: _measured(study, system, folders) for name, system in study.systems.items()}
    by_id = {job.id: job for job in study.jobs}
    rows = []
    for job in jobs:
        if is_done(study, job, folders):
            rows.append(Planned(job, "done", 0.0))
            continue
        hours, guessed = measured[job.system], False
        if hours is None:
            hours, guessed = _of_its_kind(study, study.systems[job.system], measured), True
        waits = (name for name in job.needs if not is_done(study, by_id[name], folders))
        first = next(waits, None)
        note = f"after {first}" if first else ""
        rows.append(Planned(job, "to do", hours, note, guessed and hours is not None))
    return rows


def render(rows: Sequence[Planned]) -> Table:
    """The runs for a terminal of 120 columns: a line each."""
    table = Table(box=None, pad_edge=False)
    for column in ("run", "state", "hours", "note"):
        table.add_column(column, no_wrap=True, justify="right" if column == "hours" else "left")
    for row in rows:
        note = row.note.removeprefix(f"after {row.job.system}/")  # of its own system: the last parts say it
        note = row.note if note == row.note else f"after {note}"
        table.add_row(row.job.id, row.state, _say(row), note)
    return table


def render_systems(rows: Sequence[Planned], study: Study) -> Table:
    """The same in short: a line a system that is asked for."""
    table = Table(box=None, pad_edge=False)
    seeds = [f"seed {seed}" for seed in range(_seeds(study))]
    for column in ("system", "cites", "rates", *seeds, "hours left"):
        table.add_column(column, no_wrap=True, justify="right" if column == "hours left" else "left")
    asked = {row.job.system for row in rows}
    for system in study.systems.values():
        own = [row for row in rows if row.job.system == system.id]
        if system.id not in asked:
            continue
        rates = _count([row for row in own if row.job.rate is not None])
        done = [
            _count([row for row in own if row.job.rate is None and row.job.seed == seed])
            for seed in range(_seeds(study))
        ]
        table.add_row(system.id, system.cites, rates, *done, _say_left(own))
    return table


def hours_left(rows: Sequence[Planned]) -> str:
    """In words, one run after the other."""
    todo = [row for row in rows if row.state != "done"]
    known = [row.hours for row in todo if row.hours is not None]
    left = sum(known) if known or not todo else None
    guessed = " (≈: by other systems of the kind)" if any(row.guessed for row in todo) else ""
    return f"left: {say_hours(left, len(todo) - len(known))}{guessed}"


def is_done(study: Study, job: Job, folders: Folders) -> bool:
    """Whether a job has nothing left to do."""
    if any(f"{job.system}/seed-{job.seed}" in read_record(f / RUNS) for f in folders.done):
        return True
    return folders.out is not None and _seconds(study, job, folders.out) is not None


def seconds_of_run(run: Run) -> float:
    """How long the epochs of a training took."""
    import pandas as pd

    return float(pd.read_csv(run.history_file)["seconds"].sum())


def _seconds(study: Study, job: Job, out: Path) -> float | None:
    """What a done job took; none where it is not done."""
    folder = out / job.id
    if study.systems[job.system].kind != "training":
        found = read_record(folder / RECORD).get("seconds")
        return None if found is None else float(found)
    run = Run(folder)
    if read_record(run.record_file).get("status") != "completed":
        return None
    return seconds_of_run(run)


def _measured(study: Study, system: System, folders: Folders) -> float | None:
    """Hours of a job of a system, by the middle of those that are done."""
    found: list[float] = []
    if folders.out is not None:
        taken = (_seconds(study, job, folders.out) for job in study.jobs_of(system))
        found = [seconds for seconds in taken if seconds is not None]
    for folder in folders.both:
        found += [
            float(facts["seconds"]) / study.folds_of(system)
            for name, facts in read_record(folder / RUNS).items()
            if name.startswith(f"{system.id}/")
        ]
    return median(found) / 3600 if found else None


def _of_its_kind(study: Study, system: System, measured: Mapping[str, float | None]) -> float | None:
    """The middle of what a job of the other systems of its kind takes; budgets are the same for all."""
    found = [
        hours
        for name, hours in measured.items()
        if hours is not None and study.systems[name].kind == system.kind
    ]
    return median(found) if found else None


def _seeds(study: Study) -> int:
    return max(system.seeds for system in study.systems.values())


def _count(rows: Sequence[Planned]) -> str:
    """Such as `3 of 5`; nothing of nothing."""
    return f"{sum(row.state == 'done' for row in rows)} of {len(rows)}" if rows else ""


def _say(row: Planned) -> str:
    if row.state == "done" or row.hours is None:
        return "" if row.state == "done" else "unknown"
    return f"{'≈' if row.guessed else ''}{row.hours:.2f}"


def _say_left(rows: Sequence[Planned]) -> str:
    """The hours of all that is to do of a system."""
    todo = [row for row in rows if row.state != "done"]
    if not todo:
        return "done"
    if any(row.hours is None for row in todo):
        return "unknown"
    hours = sum(row.hours for row in todo if row.hours is not None)
    return f"{'≈' if any(row.guessed for row in todo) else ''}{hours:.2f}"
