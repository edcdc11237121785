"""The systems that are compared, each a row and a recipe, and what there is to run of them.

Nearly all of them are scored on the same folds of `grouped-v1`, whose test role nobody looks at. One fold
more is drawn: it chooses the learning rate of every system that has one, and is scored for none. A few are
scored once more on lesions with a single image, as reference [14] is (`related.singletons`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import Field, PositiveInt, ValidationError

from dermlens.documents import Section, load_yaml, sentence
from dermlens.errors import UserError
from dermlens.recipe import Recipe, load_recipe
from paper.study import start_of
from related.classical import ClassicalRecipe
from related.heads import HeadRecipe
from related.king_zeng import AdjustedRecipe
from related.subset import SubsetRecipe
from related.views import ViewsRecipe

Kind = Literal["training", "classical", "head", "adjusted", "views", "subset"]
Ground = Literal["folds", "singletons"]
IMAGENET = "ImageNet"
"""The start of the trainings that share a backbone."""


class System(Section):
    """One system.

    Attributes:
        id: of the row.
        cites: the paper's number of the reference, such as `[12]`; empty for what compares.
        title: what it is, in words.
        kind: `training` is a recipe of dermlens, `classical` one of `related.classical`, `head` one of
            `related.heads`; and of those that train nothing `adjusted` is one of `related.king_zeng`, which
            weighs the predictions of another system anew, `views` one of `related.views`, which asks its
            networks for many views, and `subset` one of `related.subset`, a mean of several systems.
        recipe: its file.
        ground: `folds` of `grouped-v1`, or `singletons`.
        rates_of: another system whose learning rates were tried, of one that tries none itself.
        start: what its network starts from, in words.
        seeds: how many times all folds are trained.
        baseline: the system that it is compared with, image by image; none for a baseline.
        published: the number that was printed, and on what.
        differs: what is not as published.
        reading: whether the published method is so little known that this is a reading of it.
        waits: what a system needs that is not here; it has nothing to run.
    """

    id: str
    cites: str = ""
    title: Annotated[str, Field(min_length=1)]
    kind: Kind
    recipe: Path
    ground: Ground = "folds"
    rates_of: str | None = None
    start: str = "none"
    seeds: PositiveInt = 2
    baseline: str | None = None
    published: str = "–"
    differs: str = "–"
    reading: bool = False
    waits: str = ""

    @property
    def tries_rates(self) -> bool:
        """Whether the fold that is not scored chooses its learning rate."""
        return self.kind in ("training", "head") and self.rates_of is None


@dataclass(frozen=True, slots=True)
class Job:
    """What can be run alone.

    Attributes:
        id: such as `yao-loss/seed-0/fold-3`, or `yao-loss/rates/rate-0.001`.
        system: id of the system.
        folder: that its parts share, such as `yao-loss/seed-0`.
        part: the last part of the id.
        seed: of the training.
        fold: that is held out.
        rate: learning rate to be tried; none for a fold that is scored.
        needs: jobs that come first.
    """

    id: str
    system: str
    folder: str
    part: str
    seed: int
    fold: int
    rate: float | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        systems: by id, each after its baseline.
        folds: how many are scored; one more is drawn.
        rates: the learning rates that every training tries on the fold that is not scored.
        overrides: of every recipe that starts from ImageNet: where the weights of its backbone are.
    """

    systems: Mapping[str, System]
    folds: int = 5
    rates: tuple[float, ...] = (3e-4, 1e-3, 3e-3)
    overrides: tuple[str, ...] = ()

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs, system by system."""
        return tuple(job for system in self.systems.values() for job in self.jobs_of(system))

    @property
    def baseline(self) -> System:
        """The training that most systems are compared with."""
        trained = [system for system in self.systems.values() if system.kind == "training"]
        named = [system.baseline for system in self.systems.values()]
        return max(trained, key=lambda system: named.count(system.id))

    def jobs_of(self, system: System) -> list[Job]:
        """The learning rates of a system, and then its folds, seed by seed; the singletons are one fold."""
        if system.waits:
            return []
        rates = self._rates_of(system) if system.tries_rates else []
        first = [job.id for job in rates]
        if system.rates_of is not None:
            first = [job.id for job in self._rates_of(self.systems[system.rates_of])]
        others = self.others_of(system)
        for other in others if system.kind == "subset" else ():
            first += [job.id for job in self._rates_of(self.systems[other])]
        jobs = rates
        for seed in range(system.seeds):
            where = f"{system.id}/seed-{seed}"
            for fold in range(self.folds_of(system)):
                part = f"fold-{fold}"
                needs = (*first, *(f"{other}/seed-{seed}/{part}" for other in others))
                jobs.append(Job(f"{where}/{part}", system.id, where, part, seed, fold, None, needs))
        return jobs

    def folds_of(self, system: System) -> int:
        """How many folds of a system are scored."""
        return self.folds if system.ground == "folds" else 1

    def _rates_of(self, system: System) -> list[Job]:
        where = f"{system.id}/rates"
        return [
            Job(f"{where}/rate-{rate:g}", system.id, where, f"rate-{rate:g}", 0, self.folds, rate)
            for rate in self.rates
        ]

    def chosen(self, patterns: Sequence[str] | None) -> tuple[Job, ...]:
        """The jobs of some names, such as `garg-forest` or `yao-loss/seed-0`; none takes all.

        Raises:
            UserError: a name is of no job.
        """
        if patterns is None:
            return self.jobs
        for pattern in patterns:
            if not any(_is_of(job, pattern) for job in self.jobs):
                close = difflib.get_close_matches(pattern, self.systems, n=3)
                known = f"; nearest: {', '.join(close)}" if close else "; python -m related plan lists them"
                raise UserError(f"--only '{pattern}': there is no such run{known}")
        return tuple(job for job in self.jobs if any(_is_of(job, pattern) for pattern in patterns))

    def recipe_of(self, system: System, *overrides: str) -> Recipe:
        """The recipe of a training. Raises: UserError: it is wrong."""
        start = self.overrides if system.start == IMAGENET else ()
        return load_recipe(str(system.recipe), (*start, *overrides), trust_code=True)

    def classical_of(self, system: System) -> ClassicalRecipe:
        """The recipe of a classical system. Raises: UserError: it is wrong."""
        return read_recipe(ClassicalRecipe, system.recipe)

    def head_of(self, system: System) -> HeadRecipe:
        """The recipe of a head. Raises: UserError: it is wrong."""
        return read_recipe(HeadRecipe, system.recipe)

    def adjusted_of(self, system: System) -> AdjustedRecipe:
        """The recipe of an adjusted system. Raises: UserError: it is wrong."""
        return read_recipe(AdjustedRecipe, system.recipe)

    def views_of(self, system: System) -> ViewsRecipe:
        """The recipe of a system of views. Raises: UserError: it is wrong."""
        return read_recipe(ViewsRecipe, system.recipe)

    def subset_of(self, system: System) -> SubsetRecipe:
        """The recipe of a subset of systems. Raises: UserError: it is wrong."""
        return read_recipe(SubsetRecipe, system.recipe)

    def others_of(self, system: System) -> tuple[str, ...]:
        """Ids of the systems whose trained folds a system takes; none for one that is fitted itself."""
        if system.kind == "adjusted":
            return (self.adjusted_of(system).of,)
        if system.kind == "views":
            return (self.views_of(system).of,)
        return self.subset_of(system).members if system.kind == "subset" else ()


def load_study(weights: Path | None = None) -> Study:
    """The comparison as it is planned.

    Args:
        weights: a folder with the networks' starts, `<backbone>….safetensors`; none takes the recipes' own.

    Raises:
        UserError: a recipe is wrong, or as for `paper.study.start_of`.
    """
    here = files(__package__)
    document = yaml.safe_load(here.joinpath("systems.yaml").read_text(encoding="utf-8"))
    folder = Path(str(here)) / "recipes"
    systems = {
        name: System(id=name, recipe=folder / f"{entry.pop('recipe', name)}.yaml", **entry)
        for name, entry in document.items()
    }
    for system in systems.values():
        before = list(systems)[: list(systems).index(system.id)]
        assert {system.baseline, system.rates_of} <= {None, *before}, f"{system.id}: its baseline comes first"
    trained = [one for one in systems.values() if one.kind == "training" and one.start == IMAGENET]
    overrides: tuple[str, ...] = ()
    if trained:
        overrides = start_of(load_recipe(str(trained[0].recipe), trust_code=True).model.backbone, weights)
    return Study(systems, overrides=overrides)


AnyRecipe = TypeVar("AnyRecipe", bound=Section)


def read_recipe(kind: type[AnyRecipe], path: Path) -> AnyRecipe:
    """Read a recipe of a system that is no training. Raises: UserError: a wrong key or value, by line."""
    where = f"recipe {path.name}"
    document, places = load_yaml(path.read_text(encoding="utf-8"), where)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UserError(sentence(error, kind, "this recipe", where, document, places)) from error


def _is_of(job: Job, pattern: str) -> bool:
    return job.id == pattern or job.id.startswith(f"{pattern.rstrip('/')}/")
