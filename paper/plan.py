"""How far each run of the study is, and how long the rest would take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from dermlens.runs import Run
from dermlens.studies.ablation import RECORD, is_trained
from dermlens.studies.crossfit import RECORD as CROSSFIT
from paper.probe import read_probes
from paper.study import Job, Study, read_record

State = Literal["done", "to do", "needs a GPU"]

READING = "reading.json"
FORM = "form"
"""What a system's record says once its training has ended as the study wants it."""
PROBES = "probes.csv"


@dataclass(frozen=True, slots=True)
class Planned:
    """A job and how far it is.

    Attributes:
        job: the job.
        state: of it.
        hours: what is left of it on a machine like the one that measured; none where nobody measured.
        note: what else there is to say: what it waits for, how much of it is there.
    """

    job: Job
    state: State
    hours: float | None
    note: str


@dataclass(frozen=True)
class Folders:
    """Where a study is run and where it is published; either may be absent.

    Attributes:
        out: working folder; none where only what is published counts.
        results: what is published.
        again: what is published does not count as done: it is run again.
    """

    out: Path | None
    results: Path
    again: bool = False

    @property
    def both(self) -> tuple[Path, ...]:
        """The folders to look in, the working one first."""
        return (self.results,) if self.out is None else (self.out, self.results)

    @property
    def done(self) -> tuple[Path, ...]:
        """Those in which a finished job counts."""
        return (self.out,) if self.again and self.out is not None else self.both


def plan(study: Study, jobs: Sequence[Job], folders: Folders, *, gpu: bool) -> list[Planned]:
    """The state of every job.

    Args:
        study: what is studied.
        jobs: of it.
        folders: to look in.
        gpu: whether the machine has one: without, systems with a short form take it, and others wait.
    """
    return [_planned(study, job, folders, gpu=gpu) for job in jobs]


def hours_left(planned: Iterable[Planned]) -> tuple[float | None, int]:
    """Hours of what is to do, one run after the other; and how many runs of it nobody measured.

    Where nobody measured any of them, the hours are none.
    """
    hours = [row.hours for row in planned if row.state == "to do"]
    known = [one for one in hours if one is not None]
    return sum(known) if known or not hours else None, len(hours) - len(known)


def say_hours(hours: float | None, unknown: int) -> str:
    """What `hours_left` found: `unknown`, `11.0 hours`, or `11.0 hours, and unknown for 3 runs`."""
    if hours is None:
        return "unknown"
    runs = "run" if unknown == 1 else "runs"
    return f"{hours:.1f} hours" + (f", and unknown for {unknown} {runs}" if unknown else "")


def is_done(study: Study, job: Job, folders: Folders, *, gpu: bool) -> bool:
    """Whether a job has nothing left to do."""
    if job.kind == "arm":
        return any(_has_arm(folder / job.folder, job.name) for folder in folders.done)
    if job.kind == "reading":
        return any((reading_folder(folder, job) / READING).is_file() for folder in folders.done)
    if job.kind == "probe":
        return any(job.name in read_probes(folder / PROBES) for folder in folders.done)
    wanted = ("whole", "short") if is_short(study, job, gpu=gpu) else ("whole",)
    return any(form_of(folder / job.id) in wanted for folder in folders.done)


def is_short(study: Study, job: Job, *, gpu: bool) -> bool:
    """Whether a system's training takes its short form here."""
    return not gpu and study.systems[job.name].short_epochs is not None


def form_of(folder: Path) -> str | None:
    """Whether a system's folder holds a `whole` or a `short` training; none where none has ended."""
    form: str | None = read_record(Run(folder).record_file).get(FORM)
    return form


def reading_folder(folder: Path, job: Job) -> Path:
    """Where a reading lies in OUT or RESULTS."""
    return folder / job.folder / "readings" / job.name


def _planned(study: Study, job: Job, folders: Folders, *, gpu: bool) -> Planned:
    if is_done(study, job, folders, gpu=gpu):
        return Planned(job, "done", 0.0, _what_is_done(job, folders))
    if job.kind == "system" and not gpu and not _runs_here(study, job):
        return Planned(job, "needs a GPU", _hours_of_system(study, job, folders, gpu=True), "")
    hours, note = _left(study, job, folders, gpu=gpu)
    waits = [name for name in job.needs if not _is_done_by_id(study, name, folders, gpu=gpu)]
    return Planned(job, "to do", hours, f"after {waits[0]}" if waits else note)


def _runs_here(study: Study, job: Job) -> bool:
    here = study.systems[job.name].without_gpu
    return here is not None and job.seed < here.seeds


def _left(study: Study, job: Job, folders: Folders, *, gpu: bool) -> tuple[float | None, str]:
    if job.kind == "arm":
        whole = _seconds_of_arms(study, job, folders)
        done, folds = _folds(job, folders), study.matrices[job.folder].folds
        share = 1 - done / folds
        return None if whole is None else whole * share / 3600, f"{done} of {folds} folds" if done else ""
    if job.kind == "system":
        return _hours_of_system(study, job, folders, gpu=gpu), _form(study, job, gpu=gpu)
    return None, ""


def _what_is_done(job: Job, folders: Folders) -> str:
    if job.kind != "system":
        return ""
    return next(form for folder in folders.done if (form := form_of(folder / job.id)) is not None)


def _form(study: Study, job: Job, *, gpu: bool) -> str:
    epochs = study.systems[job.name].short_epochs
    return f"short: {epochs} epochs" if epochs is not None and not gpu else ""


def _is_done_by_id(study: Study, name: str, folders: Folders, *, gpu: bool) -> bool:
    job = next(job for job in study.jobs if job.id == name)
    return is_done(study, job, folders, gpu=gpu)


def _has_arm(folder: Path, arm: str) -> bool:
    if is_trained(folder / "arms" / arm):
        return True
    return arm in read_record(folder / RECORD).get("arms", {})


def _folds(job: Job, folders: Folders) -> int:
    """How many folds of an arm are completed."""
    if folders.out is None:
        return 0
    found = read_record(folders.out / job.folder / "arms" / job.name / CROSSFIT).get("folds", {})
    return sum(fold["status"] == "completed" for fold in found.values())


def _seconds_of_arms(study: Study, job: Job, folders: Folders) -> float | None:
    """What an arm of the same experiment took, in the middle."""
    found = []
    for arm in study.matrices[job.folder].arms:
        if folders.out is not None and is_trained(where := folders.out / job.folder / "arms" / arm):
            found.append(float(read_record(where / CROSSFIT)["seconds"]))
            continue
        published = read_record(folders.results / job.folder / RECORD).get("arms", {})
        if arm in published:
            found.append(float(published[arm]["seconds"]))
    return median(found) if found else None


def _hours_of_system(study: Study, job: Job, folders: Folders, *, gpu: bool) -> float | None:
    """What a system's probe says of its training."""
    system = study.systems[job.name]
    for folder in folders.both:
        row = read_probes(folder / PROBES).get(job.name)
        if row is not None and not math.isnan(row["hours"]):
            epochs = system.epochs if gpu else system.short_epochs or system.epochs
            return float(row["hours"]) * epochs / system.epochs
    return None
