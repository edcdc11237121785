"""The paper's study: controlled experiments, and the systems of its tables; what there is to run of both.

OUT, where it is run, and RESULTS, what of it may be published, have the same folders:

leak/, questions/               the experiments, an ablation each
questions/readings/<name>       what trained arms say without a new training
systems/<system>/seed-<k>/      a run each
probes/<system>.json            a few steps at native size
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from dermlens.errors import UserError
from dermlens.models.pretrained.registry import PACKAGES
from dermlens.studies.matrix import Matrix, load_matrix
from dermlens.studies.paper.readings import READINGS, Reading
from dermlens.studies.paper.systems import System, load_systems

Kind = Literal["arm", "reading", "probe", "system"]

MATRICES = {"leak": "paper_leak", "questions": "paper_questions"}
"""Folder → matrix."""


@dataclass(frozen=True, slots=True)
class Job:
    """What can be run alone.

    Attributes:
        id: such as `questions/base`, `probes/densenet201-md`, `systems/densenet201-md/seed-0`.
        kind: `arm` of an experiment, `reading` of trained arms, `probe` or training of a `system`.
        folder: of the experiment, for arms and readings.
        name: of the arm, the reading or the system.
        seed: of a system's training.
        needs: the jobs that come first.
    """

    id: str
    kind: Kind
    folder: str
    name: str
    seed: int = 0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """What is studied.

    Attributes:
        matrices: folder → matrix.
        readings: name → reading, of the experiment `questions`.
        systems: id → system.
    """

    matrices: Mapping[str, Matrix]
    readings: Mapping[str, Reading]
    systems: Mapping[str, System]

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs, the most telling first, since time may end a study."""
        return (*self._arms(), *self._readings(), *self._probes(), *self._trainings())

    def chosen(self, patterns: tuple[str, ...] | None) -> tuple[Job, ...]:
        """The jobs of some names, such as `questions/base`, or `questions` for all that begins so.

        Args:
            patterns: names; none for all.

        Raises:
            UserError: a pattern names no job.
        """
        if patterns is None:
            return self.jobs
        for pattern in patterns:
            if not any(_is_of(job, pattern) for job in self.jobs):
                raise UserError(f"--only '{pattern}': the study has no such run{self._like(pattern)}")
        return tuple(job for job in self.jobs if any(_is_of(job, pattern) for pattern in patterns))

    def _like(self, pattern: str) -> str:
        """Runs whose names resemble a pattern, by the whole or by the last part; else where to look."""
        last = {job.id.rpartition("/")[2]: job.id for job in self.jobs}
        close = difflib.get_close_matches(pattern, [job.id for job in self.jobs], n=3)
        close += [last[name] for name in difflib.get_close_matches(pattern, list(last), n=2)]
        return f"; nearest: {', '.join(dict.fromkeys(close))}" if close else "; --plan lists them all"

    def _arms(self) -> list[Job]:
        return [
            Job(f"{folder}/{arm}", "arm", folder, arm)
            for folder, matrix in self.matrices.items()
            for arm in matrix.arms
        ]

    def _readings(self) -> list[Job]:
        return [
            Job(
                f"questions/readings/{name}",
                "reading",
                "questions",
                name,
                needs=(f"questions/{reading.arm}",),
            )
            for name, reading in self.readings.items()
        ]

    def _probes(self) -> list[Job]:
        return [Job(f"probes/{name}", "probe", "probes", name) for name in self.systems]

    def _trainings(self) -> list[Job]:
        return [
            Job(f"systems/{name}/seed-{seed}", "system", "systems", name, seed)
            for name, system in self.systems.items()
            for seed in range(system.seeds)
        ]


def paper_study(weights: Path | None = None) -> Study:
    """The study as it ships.

    Args:
        weights: a folder with what networks start from, `<backbone>….safetensors`; none takes each recipe's.

    Raises:
        UserError: as for `start_of`.
    """
    matrices = {}
    for folder, name in MATRICES.items():
        matrix = load_matrix(name)
        backbone = matrix.recipe_of(matrix.baseline).model.backbone
        matrices[folder] = load_matrix(name, start_of(backbone, weights))
    return Study(matrices, READINGS, load_systems())


def start_of(backbone: str, weights: Path | None) -> tuple[str, ...]:
    """What a recipe is told of its network's start.

    Args:
        backbone: of the recipe.
        weights: a folder of starts, or none.

    Returns:
        Overrides, or nothing without a folder: the folder's file, and what it says that the map is to be
        divided by; where the folder has none, a Python package that has weights, if there is one.

    Raises:
        UserError: the folder is none, or has two files of the backbone.
    """
    if weights is None:
        return ()
    if not weights.is_dir():
        raise UserError(f"--weights {weights}: no such folder")
    found = sorted(weights.glob(f"{backbone}[_.-]*safetensors"))
    if len(found) > 1:
        raise UserError(f"--weights {weights}: {found[0].name} and {found[1].name} are both of {backbone}")
    if found:
        from dermlens.models.pretrained.folded import start_of_file

        divisor = start_of_file(found[0])[1]
        divided = (f"model.divide_map={divisor}",) if divisor != 1 else ()
        return (f"model.weights={found[0]}", *divided)
    return ("model.weights=package",) if backbone in PACKAGES else ()


def _is_of(job: Job, pattern: str) -> bool:
    return job.id == pattern or job.id.startswith(f"{pattern.rstrip('/')}/")
