"""Do what there is to do, one run after the other or several at once.

What was interrupted goes on from its last whole epoch when the same command is given again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from dermlens.data.predictions import write_csv
from dermlens.data.table import read_table
from dermlens.errors import UserError
from dermlens.files import write_json
from dermlens.recipe import Recipe, load_recipe
from dermlens.runs import Run, environment
from dermlens.studies.ablation import Plan, begin, train_arm
from dermlens.studies.folds import DIGITS, train_fold
from paper.batch import run_all
from paper.plan import FORM, PROBES, READING, Folders, is_done, is_short, plan, reading_folder
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
    """Does the jobs of a study.

    Attributes:
        study: what is studied.
        site: where.
        say: takes a line about how far the work is.
    """

    study: Study
    site: Site
    say: Callable[[str], None] = print

    def work(self, jobs: Sequence[Job], processes: int = 1) -> list[Job]:
        """Do all of the jobs that can be done here; those that need a GPU that is not there are passed over.

        Args:
            jobs: to do, in this order.
            processes: how many at once.

        Returns:
            The jobs that failed or wait.

        Raises:
            UserError: the data folder is none; no run has been begun then.
            KeyboardInterrupt: with a sentence that says how to go on.
        """
        read_table(self.site.data)
        rows = plan(self.study, jobs, self.site.folders, gpu=self.site.gpu)
        left = [row.job for row in rows if row.state == "to do"]
        return run_all(left, self._do, self._is_done, processes=processes, say=self.say)

    def _do(self, job: Job) -> None:
        self._doing[job.kind](job)

    def _is_done(self, name: str) -> bool:
        job = next(job for job in self.study.jobs if job.id == name)
        return is_done(self.study, job, self.site.folders, gpu=self.site.gpu)

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
