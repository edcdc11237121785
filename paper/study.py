"""The paper's study: its systems, its controlled experiments, and what there is to run of both."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
import yaml
from pydantic import Field, PositiveInt

from dermlens.documents import Section
from dermlens.errors import UserError
from dermlens.files import read_json
from dermlens.models.pretrained.registry import PACKAGES
from dermlens.recipe import Recipe, load_recipe, parse_recipe
from dermlens.studies.matrix import Matrix, load_matrix
from paper.readings import READINGS, Reading
from paper.repeats import folder_of, load_repeated_matrix, planned_seeds, repeated_matrices

# Published tables and records, read so that damage is said in one sentence.


PUBLISHED = ("questions", "leak", "repeats", "probes.csv", "counts.csv", "systems")


def read_published(
    path: Path, columns: Collection[str], numbers: Collection[str] = (), *, whole: bool = False
) -> pd.DataFrame:
    """Read a CSV that the study has written.

    Args:
        path: of the file.
        columns: that it must have.
        numbers: those of them that hold numbers, or nothing.
        whole: whether the numbers are counts.

    Raises:
        UserError: it is empty, damaged, lacks a column, or has a word where a number belongs.
    """
    try:
        table = pd.read_csv(path)
    except (ValueError, EOFError, OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if lacking := [name for name in columns if name not in table.columns]:
        raise UserError(f"{path} has no column {lacking[0]}; publish the study again, or restore the file")
    for name in numbers:
        try:
            table[name] = pd.to_numeric(table[name])
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}, column {name}: not a number in every row") from error
        if whole and not (table[name] == table[name].round()).all():
            raise UserError(f"{path}, column {name}: not a count in every row")
    return table


def read_record(path: Path) -> dict[str, Any]:
    """Read a JSON record; nothing where there is none. Raises: UserError when it is damaged."""
    return read_json(path) if path.is_file() else {}


def require_results(results: Path) -> None:
    """Make sure that a folder holds something of the study. Raises: UserError when it does not."""
    if not results.is_dir():
        raise UserError(f"{results} does not exist: name the published results with --results")
    if not any((results / name).exists() for name in PUBLISHED):
        raise UserError(f"{results} holds nothing of the study: none of {', '.join(PUBLISHED)}")


# The systems of the paper's tables, each a recipe that ships.


class WithoutGpu(Section):
    """What is trained of a system where there is no GPU.

    Attributes:
        seeds: how many trainings.
        epochs: of the short form, at the most; plateau and early stopping stay. None trains it whole.
    """

    seeds: PositiveInt
    epochs: PositiveInt | None = None


class System(Section):
    """One cell of the paper's tables, or several.

    Attributes:
        id: backbone and column, such as `densenet201-md`.
        recipe: by name.
        column: `md`, metadata and weighted loss; `ad`, augmented data as the paper describes them;
            `ad_as_run`, as the notebook behind the printed number ran; `loss`, another weighting of Table 8;
            `plain`, of Table 6; `other_split`, the comparison with reference [14].
        about: in a sentence.
        notebook: of the authors' run, if there is one.
        epochs: how many a whole training takes, for the estimate of hours.
        seeds: trainings that a number of a table is the mean of.
        without_gpu: what a machine without a GPU trains; none where that is out of its reach.
        timed_batch: images of the steps that a probe times, where the recipe's batch needs more memory than
            24 GB; none for the recipe's.
    """

    id: str
    recipe: str
    column: Literal["md", "ad", "ad_as_run", "loss", "plain", "other_split"]
    about: Annotated[str, Field(min_length=1)]
    notebook: str | None = None
    epochs: PositiveInt
    seeds: PositiveInt = 3
    without_gpu: WithoutGpu | None = None
    timed_batch: PositiveInt | None = None

    @property
    def short_epochs(self) -> int | None:
        """Epochs of the short form that is trained without a GPU; none where there is no such form."""
        return self.without_gpu.epochs if self.without_gpu is not None else None


def load_systems() -> dict[str, System]:
    """The systems by id, in the order in which they are worth running."""
    document = yaml.safe_load(files(__package__).joinpath("systems.yaml").read_text(encoding="utf-8"))
    return {name: System(id=name, **entry) for name, entry in document.items()}


def recipe_of(system: System, *, short: bool, seed: int, overrides: Sequence[str] = ()) -> Recipe:
    """What a training of a system is.

    Args:
        system: which.
        short: in its short form, which it has.
        seed: of the training; the split's is the same for all, so that seeds score the same images.
        overrides: `section.key=value`, such as where weights are.

    Raises:
        UserError: an override is wrong.
    """
    recipe = load_recipe(system.recipe, (f"seed={seed}", *overrides))
    if not short:
        return recipe
    assert system.short_epochs is not None, "a system without a short form has none to train"
    return parse_recipe(recipe.dump(), f"recipe {recipe.name}", [f"train.epochs={system.short_epochs}"])


# The paper's study: controlled experiments, and the systems of its tables; what there is to run of both.
#
# OUT, where it is run, and RESULTS, what of it may be published, have the same folders:
#
# leak/, questions/               the experiments, an ablation each
# repeats/<matrix>/seed-<k>/      experiments with several seeds, an ablation each
# questions/readings/<name>       what trained arms say without a new training
# systems/<system>/seed-<k>/      a run each
# probes/<system>.json            a few steps at native size


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
        last = {job.id.rpartition("/")[2]: job.id for job in reversed(self.jobs)}
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
    for name in repeated_matrices():
        matrix = load_repeated_matrix(name)
        start = start_of(matrix.recipe_of(matrix.baseline).model.backbone, weights)
        for seed in planned_seeds():
            matrices[folder_of(name, seed)] = load_repeated_matrix(name, (*start, f"seed={seed}"))
    return Study(matrices, READINGS, load_systems())


def start_of(backbone: str, weights: Path | None) -> tuple[str, ...]:
    """What a recipe names of its network's start.

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
        from dermlens.models.initial_weights import start_of_file

        divisor = start_of_file(found[0])[1]
        divided = (f"model.divide_map={divisor}",) if divisor != 1 else ()
        return (f"model.weights={found[0]}", *divided)
    return ("model.weights=package",) if backbone in PACKAGES else ()


def _is_of(job: Job, pattern: str) -> bool:
    return job.id == pattern or job.id.startswith(f"{pattern.rstrip('/')}/")
