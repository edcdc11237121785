"""Do what there is to do, in one process or in as many as share the folder.

A process claims a run before it begins, and the system lets go of the claim however the process ends. So the
same command, started several times, on one machine or as the tasks of a cluster's job that see one folder,
divides the study without being told how. What was interrupted goes on from its last whole epoch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dermlens.data.predictions import write_csv
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.files import claimed, write_json, write_text
from dermlens.recipe import Recipe, load_recipe
from dermlens.runs import Run, environment
from dermlens.studies.ablation import Plan, begin, train_arm
from dermlens.studies.folds import DIGITS, train_fold
from paper.plan import (
    CLAIMS,
    FORM,
    PROBES,
    READING,
    Folders,
    claim_file,
    failure_file,
    hours_left,
    is_done,
    is_short,
    plan,
    reading_folder,
    say_hours,
)
from paper.probe import probe, write_probe
from paper.study import Job, Study, recipe_of, start_of


@dataclass(frozen=True)
class Site:
    """Where a study is run.

    Attributes:
        data: the data folder.
        folders: to work in and to find what is published.
        device, cache: as for `fit`.
        gpu: whether the machine has one.
        weights: a folder of starts, or none.
    """

    data: Path
    folders: Folders
    device: str
    cache: Path | None
    gpu: bool
    weights: Path | None

    @property
    def out(self) -> Path:
        """The working folder."""
        assert self.folders.out is not None
        return self.folders.out


@dataclass
class Worker:
    """One process that takes one job after the other.

    Attributes:
        study: what is studied.
        site: where.
        say: takes a line about how far the work is.
    """

    study: Study
    site: Site
    say: Callable[[str], None]
    _failed: set[str] = field(default_factory=set)

    def work(self, jobs: Sequence[Job]) -> list[Job]:
        """Do all of the jobs that can be done here, until none is left that another process has not.

        Args:
            jobs: to do, in this order; those that are done, or need a GPU that is not there, are passed over.

        Returns:
            The jobs that failed; what they said is in OUT, and on the plan.

        Raises:
            UserError: the data folder is none; no run has been begun then.
            KeyboardInterrupt: with a sentence that says how to go on.
        """
        read_table(self.site.data)
        (self.site.out / CLAIMS).mkdir(parents=True, exist_ok=True)
        while self._round(jobs):
            pass
        return [job for job in jobs if job.id in self._failed]

    def _round(self, jobs: Sequence[Job]) -> bool:
        """Take every job that is ready once. Returns: whether any was done."""
        return sum(self._take(job) for job in self._todo(jobs)) > 0

    def _todo(self, jobs: Sequence[Job]) -> list[Job]:
        rows = plan(self.study, jobs, self.site.folders, gpu=self.site.gpu)
        return [
            row.job
            for row in rows
            if row.state in ("to do", "failed") and row.job.id not in self._failed and self._is_ready(row.job)
        ]

    def _is_ready(self, job: Job) -> bool:
        by_id = {one.id: one for one in self.study.jobs}
        return all(
            is_done(self.study, by_id[name], self.site.folders, gpu=self.site.gpu) for name in job.needs
        )

    def _take(self, job: Job) -> bool:
        """Do a job, unless another process has it or has done it. Returns: whether anything was done."""
        with claimed(claim_file(self.site.out, job)) as ours:
            if not ours or is_done(self.study, job, self.site.folders, gpu=self.site.gpu):
                return False
            failure = failure_file(self.site.out, job)
            failure.unlink(missing_ok=True)
            self.say(f"{job.id}: begun; {self._rest()}")
            began = time.monotonic()
            try:
                self._doing[job.kind](job)
            except (UserError, RuntimeError, MemoryError, OSError) as error:
                failure.parent.mkdir(parents=True, exist_ok=True)
                write_text(failure, f"{str(error) or type(error).__name__}\n")
                self._failed.add(job.id)
                self.say(f"{job.id}: failed: {error}")
                return True
            self.say(f"{job.id}: done in {(time.monotonic() - began) / 60:.1f} min")
            return True

    def _rest(self) -> str:
        """How long the study still takes."""
        rows = plan(self.study, self.study.jobs, self.site.folders, gpu=self.site.gpu)
        return f"left in all: {say_hours(*hours_left(rows))}"

    @property
    def _doing(self) -> Mapping[str, Callable[[Job], None]]:
        return {"arm": self._arm, "reading": self._read, "probe": self._probe, "system": self._train}

    def _arm(self, job: Job) -> None:
        site, folder = self.site, self.site.out / job.folder
        plans = self._plans(job.folder)
        matrix = self.study.matrices[job.folder]
        train_arm(matrix, plans[job.name], job.name, site.data, folder, device=site.device, cache=site.cache)

    def _plans(self, folder: str) -> dict[str, Plan]:
        """The arms of an experiment, read once: that looks at every image."""
        if folder not in self._begun:
            self._begun[folder] = begin(self.study.matrices[folder], self.site.data, self.site.out / folder)
        return self._begun[folder]

    @cached_property
    def _begun(self) -> dict[str, dict[str, Plan]]:
        return {}

    def _read(self, job: Job) -> None:
        reading, site = self.study.readings[job.name], self.site
        arm = site.out / job.folder / "arms" / reading.arm
        if not arm.is_dir():
            raise UserError(
                f"{arm} is not there: {job.id} reads networks, which are not published; train it here"
            )
        began = time.monotonic()
        tables = reading.read(arm, site.data, device=site.device, cache=site.cache)
        folder = reading_folder(site.out, job)
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            write_csv(folder / f"{name}.csv.gz", table, digits=DIGITS)
        facts = {"seconds": round(time.monotonic() - began, 1), "tables": sorted(tables), **environment()}
        write_json(folder / READING, facts)

    def _probe(self, job: Job) -> None:
        system, site = self.study.systems[job.name], self.site
        row = probe(system, site.data, device=site.device)
        write_probe(site.out / PROBES, row)

    def _train(self, job: Job) -> None:
        system, site = self.study.systems[job.name], self.site
        short = is_short(self.study, job, gpu=site.gpu)
        start = start_of(load_recipe(system.recipe).model.backbone, site.weights)
        recipe = recipe_of(system, short=short, seed=job.seed, overrides=start)
        folder = site.out / job.id
        _make_room(Run(folder), recipe)
        run = train_fold(recipe, site.data, folder, device=site.device, cache=site.cache)
        run.record(**{FORM: "short" if short else "whole"})


def _make_room(run: Run, recipe: Recipe) -> None:
    """Take away what another recipe left before its first epoch ended: one without its weights, say.

    Raises:
        UserError: it got further than that.
    """
    if not run.record_file.is_file() or run.recipe == recipe:
        return
    if run.history_file.is_file():
        raise UserError(f"{run.path} is of another recipe: delete it to train it anew, or name a new --out")
    shutil.rmtree(run.path)


def work_together(processes: int, arguments: Sequence[str]) -> int:
    """Start the same command several times and wait for all.

    Args:
        processes: how many.
        arguments: of the command line, without those that lead here.

    Returns:
        The largest exit code; 1 for a process that was killed.
    """
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    command = [sys.executable, "-m", "paper", *arguments]
    env = os.environ | {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    children = [subprocess.Popen(command, env=env | _own_gpu(number)) for number in range(processes)]
    try:
        codes = [child.wait() for child in children]
        return max(code if code >= 0 else 1 for code in codes)  # one that a signal ended has failed
    except KeyboardInterrupt:
        for child in children:  # the terminal has told them as well
            child.wait()
        raise KeyboardInterrupt("interrupted; the same command goes on where it stopped") from None


def _own_gpu(number: int) -> dict[str, str]:
    """One GPU a process, in turn, where there are several."""
    import torch

    if "CUDA_VISIBLE_DEVICES" in os.environ or torch.cuda.device_count() < 2:
        return {}
    return {"CUDA_VISIBLE_DEVICES": str(number % torch.cuda.device_count())}
