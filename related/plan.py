"""How far each run is, and how many hours the rest would take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from rich.table import Table

from dermlens.runs import Run
from paper.plan import Folders, say_hours
from paper.study import read_record
from related.study import Job, Study

State = Literal["done", "to do"]
RECORD = "record.json"
"""What a classical fold leaves when it is done, as run.json is what a training leaves."""
RUNS = "runs.json"
"""Of what is published: seconds, parameters and machine by `<system>/seed-<k>`."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A job and how far it is.

    Attributes:
        job: the job.
        state: of it.
        hours: what is left of it, by what the others of its system took; none where none is done.
        note: what it waits for.
    """

    job: Job
    state: State
    hours: float | None
    note: str = ""


def plan(study: Study, jobs: Sequence[Job], folders: Folders) -> list[Planned]:
    """The state of every job, in their order."""
    return [_planned(study, job, folders) for job in jobs]


def render(rows: Sequence[Planned], study: Study) -> Table:
    """The plan for a terminal: a line a run, and the hours that are left."""
    todo = [row for row in rows if row.state != "done"]
    known = [row.hours for row in todo if row.hours is not None]
    left = sum(known) if known or not todo else None
    table = Table(caption=f"left: {say_hours(left, len(todo) - len(known))}", caption_justify="left")
    for column in ("run", "system", "seed", "fold", "state", "hours", "note"):
        table.add_column(column, overflow="fold")
    for row in rows:
        job, hours = row.job, "–" if row.hours is None else f"{row.hours:.2f}"
        fold = str(job.fold) if job.rate is None else f"rate {job.rate:g}"
        title = study.systems[job.system].title
        table.add_row(job.id, title, str(job.seed), fold, row.state, hours, row.note)
    return table


def is_done(study: Study, job: Job, folders: Folders) -> bool:
    """Whether a job has nothing left to do."""
    if any(f"{job.system}/seed-{job.seed}" in read_record(f / RUNS) for f in folders.done):
        return True
    return folders.out is not None and _seconds(study, job, folders.out) is not None


def seconds_of_run(run: Run) -> float:
    """How long the epochs of a training took."""
    import pandas as pd

    return float(pd.read_csv(run.history_file)["seconds"].sum())


def _planned(study: Study, job: Job, folders: Folders) -> Planned:
    if is_done(study, job, folders):
        return Planned(job, "done", 0.0)
    hours = _hours(study, job, folders)
    by_id = {one.id: one for one in study.jobs}
    waits = (name for name in job.needs if not is_done(study, by_id[name], folders))
    first = next(waits, None)
    return Planned(job, "to do", hours, f"after {first}" if first else "")


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


def _hours(study: Study, job: Job, folders: Folders) -> float | None:
    """What a job would take, by the middle of those of its system that are done."""
    found: list[float] = []
    if folders.out is not None:
        others: Iterable[Job] = study.jobs_of(study.systems[job.system])
        taken = (_seconds(study, other, folders.out) for other in others)
        found = [seconds for seconds in taken if seconds is not None]
    for folder in folders.both:
        runs = read_record(folder / RUNS)
        found += [
            float(facts["seconds"]) / study.folds_of(study.systems[job.system])
            for name, facts in runs.items()
            if name.startswith(f"{job.system}/")
        ]
    return median(found) / 3600 if found else None
