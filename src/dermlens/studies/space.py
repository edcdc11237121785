"""What a search is about: one recipe, the values that its keys may take, what decides and on which folds."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import (
    Discriminator,
    Field,
    NonNegativeInt,
    PositiveInt,
    StrictFloat,
    StrictInt,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from dermlens.documents import Section, flow, load_yaml, sentence
from dermlens.errors import UserError
from dermlens.recipe import Recipe, load_recipe
from dermlens.studies.folds import unit_recipe
from dermlens.studies.matrix import OF_IMAGES, check_keys, set_keys
from dermlens.targets import file_source

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DECIDED = ("name", "train.keep", "train.monitor_role", "split.folds", "split.fold")
FOLLOWS = "follows from folds and scored of the search"
SHARED = (*DECIDED, "seed", *OF_IMAGES, "paper.siblings")

CHECKED = 100
"""Combinations of values that are tried on the recipe before the first training."""

Number = StrictFloat | StrictInt  # in this order: the message of a mistake then asks for a number
Direction = Literal["minimize", "maximize"]
DIRECTIONS: dict[str, Direction] = {
    "log_loss": "minimize",
    "ece": "minimize",
    "mean_recall": "maximize",
    "accuracy": "maximize",
    "macro_auc": "maximize",
}


class Range(Section):
    """Numbers between two, both of them included; whole ones where all that is given is whole.

    Attributes:
        low, high: the ends.
        log: whether each tenfold is as likely as the next.
        step: between the values; none for any value, which is 1 for whole numbers.
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} is not below high {self.high}")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs low above 0, and has no step")
        if self.step is not None:
            steps = (self.high - self.low) / self.step if self.step > 0 else 0.5
            if not math.isclose(steps, round(steps), abs_tol=1e-9):
                raise ValueError(f"no whole number of steps of {self.step} leads from low to high")
        return self

    @property
    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        low, high, step = self.low, self.high, self.step
        if isinstance(low, int) and isinstance(high, int) and (step is None or isinstance(step, int)):
            return IntDistribution(low, high, log=self.log, step=step or 1)
        return FloatDistribution(low, high, log=self.log, step=step)

    @property
    def tried(self) -> list[int | float]:
        """The values that are tried on the recipe: the ends, and the second where there are steps."""
        step = self.step or (1 if isinstance(self.low, int) and isinstance(self.high, int) else None)
        return [self.low, *([] if step is None else [self.low + step]), self.high]


def _kind(one: Any) -> str:
    return "list" if isinstance(one, list) else "range"


Choices = Annotated[
    Annotated[list[Any], Field(min_length=2), Tag("list")] | Annotated[Range, Tag("range")],
    Discriminator(_kind),
]


class Search(Section):
    """A search, before it happens.

    Attributes:
        about: what it asks.
        recipe: a file, or the name of a recipe that ships with dermlens.
        set: `section.key` → value, for all trials.
        space: `section.key` → the values to choose from, or a range.
        measure: what decides, as cross-fits have it; whether less or more is better follows from it.
        decision: `equal` scales to equal class shares, each image by what other lesions teach; `argmax` takes
            the probabilities as they come.
        folds: how many, of all lesions but those of the test role.
        scored: the folds that trials are trained for, and measured on together.
        trials: how many, of a grid no more than it has combinations.
        sampler: `tpe`, or `grid` for every combination of a space that has choices alone.
        seed: of the sampler.
    """

    about: str = ""
    recipe: str
    set: dict[str, Any] = Field(default_factory=dict)
    space: Annotated[dict[str, Choices], Field(min_length=1)]
    measure: Literal["log_loss", "ece", "mean_recall", "accuracy", "macro_auc"] = "log_loss"
    decision: Literal["equal", "argmax"] = "equal"
    folds: Annotated[int, Field(ge=2)] = 5
    scored: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)
    trials: PositiveInt = 20
    sampler: Literal["tpe", "grid"] = "tpe"
    seed: NonNegativeInt = 0

    @field_validator("set")
    @classmethod
    def _search_decides(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        return check_keys(overrides, DECIDED, FOLLOWS)

    @field_validator("space", mode="before")
    @classmethod
    def _trials_stay_comparable(cls, space: Any) -> Any:
        for key, one in space.items() if isinstance(space, dict) else ():
            if not isinstance(one, list | dict):
                raise ValueError(f"{key}: write a list of values, or {{low: …, high: …}}")
        why = "is the same for all trials: those of another seed or of other images do not compare"
        return check_keys(space, SHARED, why) if isinstance(space, dict) else space

    @model_validator(mode="after")
    def _is_one_space(self) -> Self:
        for key, other in itertools.product(self.space, (*self.space, *self.set)):
            if other.startswith(f"{key}.") or (other == key and key in self.set):
                raise ValueError(f"space {key} would replace {other}: leave one of the two out")
        for key, one in self.space.items():
            if isinstance(one, list) and len({flow(value) for value in one}) < len(one):
                raise ValueError(f"space {key} has a value twice")
            if isinstance(one, Range) and self.sampler == "grid":
                raise ValueError(f"sampler grid takes choices alone, and space {key} is a range")
        if len(set(self.scored)) < len(self.scored) or max(self.scored) >= self.folds:
            raise ValueError(f"scored: folds are numbers from 0 to {self.folds - 1}, each once")
        return self

    @property
    def direction(self) -> Direction:
        """Of the measure."""
        return DIRECTIONS[self.measure]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The space as Optuna has it, choices as the text that `--set` takes."""
        from optuna.distributions import CategoricalDistribution

        return {
            key: one.distribution if isinstance(one, Range) else CategoricalDistribution([*map(flow, one)])
            for key, one in self.space.items()
        }

    @property
    def tried(self) -> dict[str, list[Any]]:
        """The values of each key that are tried on the recipe, choices as text."""
        return {
            key: one.tried if isinstance(one, Range) else [*map(flow, one)] for key, one in self.space.items()
        }

    @property
    def most(self) -> int:
        """How many trials there can be."""
        combinations = math.prod(map(len, self.tried.values()))
        return min(self.trials, combinations) if self.sampler == "grid" else self.trials

    def recipe_of(self, values: Mapping[str, Any]) -> Recipe:
        """The recipe with a trial's values. Raises: UserError."""
        words = [f"{key}={flow(value)}" for key, value in self.set.items()]
        words += [
            f"{key}={value if isinstance(value, str) else flow(value)}" for key, value in values.items()
        ]
        return load_recipe(self.recipe, words, trust_code=True)

    def fold_recipes(self, recipe: Recipe) -> dict[int, Recipe]:
        """The recipe of each scored fold. Raises: UserError, as `unit_recipe`."""
        return {
            fold: unit_recipe(recipe, f"split.folds={self.folds}", f"split.fold={fold}")
            for fold in self.scored
        }

    def check(self) -> None:
        """Try the space on the recipe: every value, and all combinations of them where they are not too many.

        Raises:
            UserError: the recipe with one of them is not valid, or looks at the images that are scored.
        """
        tried, rng = self.tried, random.Random(self.seed)
        first = {key: values[0] for key, values in tried.items()}
        if math.prod(map(len, tried.values())) <= CHECKED:
            combinations = [dict(zip(tried, one, strict=True)) for one in itertools.product(*tried.values())]
        else:
            combinations = [first | {key: value} for key, values in tried.items() for value in values]
            combinations += [{key: rng.choice(of) for key, of in tried.items()} for _ in range(CHECKED)]
        for values in combinations:
            try:
                self.fold_recipes(self.recipe_of(values))
            except UserError as error:
                raise UserError(f"a trial with {words_of(values)} is not possible: {error}") from error

    def dump(self) -> str:
        """The search as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def words_of(values: Mapping[str, Any]) -> str:
    """A trial's values on a line."""
    return ", ".join(f"{key}={value}" for key, value in values.items())


def load_search(path: Path, overrides: Sequence[str] = (), *, trials: int | None = None) -> Search:
    """Load a search.

    Args:
        path: its file.
        overrides: `section.key=value` for the recipe of all trials, such as where the weights are.
        trials: in the place of those that it names.

    Raises:
        UserError: no such file, not YAML, an unknown key, a wrong value, or an override of another form.
    """
    where = f"search {path}"
    if not path.is_file():
        raise UserError(f"{where} is no file: it is a YAML with recipe, space and measure")
    document, places = load_yaml(file_source(path).read_text(encoding="utf-8", errors="replace"), where)
    if not isinstance(document, dict):
        raise UserError(f"{where}: a search is a mapping with recipe, space and measure")
    set_keys(document, overrides, DECIDED, FOLLOWS)
    if trials is not None:
        document["trials"] = trials
    try:
        return Search.model_validate(document)
    except ValidationError as error:
        raise UserError(sentence(error, Search, "a search", where, document, places)) from error
