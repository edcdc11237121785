"""A matrix of an ablation: one recipe, one budget, one set of folds, and arms that differ by stated keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import yaml
from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from dermlens.data.loaders import planned_epoch
from dermlens.documents import Section, flow, load_yaml, sentence
from dermlens.errors import UserError, nearest
from dermlens.recipe import Recipe, load_recipe, moved, parse_recipe, updated_settings
from dermlens.training.inputs import RolePlan, rows_of
from dermlens.training.sampling import epoch_positions

DECIDED = ("name", "train.epochs", "train.keep", "train.monitor_role", "split.folds", "split.fold")
"""What the matrix and its cross-fits decide themselves."""

FOLLOWS = "follows from name, folds and images of the matrix"

OF_IMAGES = (
    "split", "data.classes", "data.described", "data.labels", "data.columns", "data.skip", "data.folders",
    "data.reader", "data.also_train",
)  # fmt: skip
SHARED = (*DECIDED, "seed", *OF_IMAGES)
"""What an arm cannot change, or its numbers would be of another start, other images or another budget."""

ArmName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,59}$")]


class Arm(Section):
    """One thing that is tried.

    Attributes:
        tests: what it is there to show, in a sentence.
        set: `section.key` → value, on top of the matrix's own.
        peeks: choose the epoch by accuracy on the images that are scored; others keep the last one.
    """

    tests: Annotated[str, Field(min_length=1)]
    peeks: bool = False
    set: dict[str, Any] = Field(default_factory=dict)

    @field_validator("set")
    @classmethod
    def _arms_stay_comparable(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        why = "is the same for all arms: arms of another start, other images or another budget do not compare"
        return check_keys(overrides, SHARED, why)


class Matrix(Section):
    """An ablation, before it happens.

    Attributes:
        name: of the ablation.
        about: what it asks, for its page.
        recipe: the base: a file, or the name of a recipe that ships with dermlens.
        set: `section.key` → value, for all arms.
        folds: how many, of all lesions but those of the test role.
        images: the budget: how many images each training sees, in whole epochs next to it.
        baseline: the arm that the others are compared with.
        arms: by name, in the order of the table.
    """

    name: ArmName
    about: str = ""
    recipe: str
    set: dict[str, Any] = Field(default_factory=dict)
    folds: Annotated[int, Field(ge=2)] = 3
    images: PositiveInt
    baseline: ArmName
    arms: Annotated[dict[ArmName, Arm], Field(min_length=2)]

    @field_validator("set")
    @classmethod
    def _budget_decides(cls, overrides: dict[str, Any]) -> dict[str, Any]:
        return check_keys(overrides, DECIDED, FOLLOWS)

    @model_validator(mode="after")
    def _baseline_is_an_arm(self) -> Self:
        if self.baseline not in self.arms:
            raise ValueError(f"baseline {self.baseline} is not an arm{nearest(self.baseline, self.arms)}")
        return self

    @property
    def names(self) -> list[str]:
        """The arms, the baseline first."""
        return [self.baseline, *(name for name in self.arms if name != self.baseline)]

    def recipe_of(self, arm: str) -> Recipe:
        """The recipe of an arm, its epochs not yet those of the budget. Raises: UserError.

        Whoever trains a matrix has named it, so import paths in it are resolved.
        """
        chosen = self.set | self.arms[arm].set | {"name": arm}
        return load_recipe(
            self.recipe, [f"{key}={flow(value)}" for key, value in chosen.items()], trust_code=True
        )

    def dump(self) -> str:
        """The matrix as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)


def shipped_matrices() -> dict[str, str]:
    """The matrices that come with dermlens: name → YAML text."""
    folder = files("dermlens.studies") / "matrices"
    entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in entries
        if entry.name.endswith(".yaml")
    }


def load_matrix(name: str, overrides: Sequence[str] = ()) -> Matrix:
    """Load a matrix.

    Args:
        name: a file, or the name of a matrix that ships with dermlens.
        overrides: `section.key=value` for the recipe of all arms, such as where the weights are.

    Raises:
        UserError: no such matrix, not YAML, an unknown key, a wrong value, or an override of another form.
    """
    path = Path(name)
    if path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
    elif name in (shipped := shipped_matrices()):
        text = shipped[name]
    else:
        raise UserError(f"matrix {name} is neither a file nor one of ours{nearest(name, shipped)}")
    return parse_matrix(text, f"matrix {name}", overrides)


def parse_matrix(text: str, where: str, overrides: Sequence[str] = (), *, stored: bool = False) -> Matrix:
    """Validate YAML text as a matrix.

    Args:
        text: YAML.
        where: names it in errors.
        overrides: as for `load_matrix`.
        stored: whether an ablation wrote it down, perhaps one of an earlier version.

    Raises:
        UserError: as for `load_matrix`.
    """
    document, places = load_yaml(text, where)
    if not isinstance(document, dict):
        raise UserError(f"{where}: a matrix is a mapping with recipe, folds, images, baseline and arms")
    if stored:
        document = updated_matrix(document)
    set_keys(document, overrides, DECIDED, FOLLOWS)
    try:
        return Matrix.model_validate(document)
    except ValidationError as error:
        raise UserError(sentence(error, Matrix, "a matrix", where, document, places)) from error


def updated_matrix(document: Mapping[str, Any]) -> dict[str, Any]:
    """A matrix as an ablation wrote it down, the keys of its settings being those of now."""

    def renamed(part: Any) -> Any:
        known = isinstance(part, dict) and isinstance(part.get("set"), dict)
        return part | {"set": updated_settings(part["set"])} if known else part

    found, arms = renamed(dict(document)), document.get("arms")
    if isinstance(arms, dict):
        found["arms"] = {name: renamed(arm) for name, arm in arms.items()}
    return dict(found)


def epoch_size(recipe: Recipe, found: RolePlan) -> int:
    """How many images an epoch of a training sees.

    Args:
        recipe: of one fold.
        found: its images by role.

    Raises:
        UserError: the sampler names a class that is not there.
    """
    rows = rows_of("train", found.table, found.own, found.split)
    position = {code: index for index, code in enumerate(recipe.data.classes)}
    target_R = np.array([position[code] for code in found.table["dx"].iloc[rows]], dtype=np.int64)
    lesion_R = found.table["lesion_id"].iloc[rows].tolist()
    rng = np.random.default_rng(recipe.seed)
    source_R = found.table["source"].iloc[rows].tolist()
    drawn = epoch_positions(recipe.imbalance.sampler, target_R, lesion_R, rng, recipe.data.classes, source_R)
    if recipe.paper.offline_plan:
        drawn = planned_epoch(target_R[drawn], rng)[0]
    return len(drawn)


def budgeted(recipe: Recipe, size: int, images: int) -> Recipe:
    """A recipe with as many whole epochs, one at least, as bring its training next to a number of images."""
    epochs = max(1, round(images / size))
    return parse_recipe(recipe.dump(), f"recipe {recipe.name}", [f"train.epochs={epochs}"])


def check_keys(overrides: dict[str, Any], kept: Sequence[str], why: str) -> dict[str, Any]:
    """Keys of a recipe, none of which is one of the `kept`, or within one.

    Raises:
        ValueError: one is, which `why` explains, it has moved, or it is not written as section.key.
    """
    for key, value in overrides.items():
        if (now := moved(key, value)) is not None:
            raise ValueError(f"{key} {value} is a key of section paper now: {now}")
        if any(key == own or key.startswith(f"{own}.") for own in kept):
            raise ValueError(f"{key} {why}")
        if "." not in key and key != "seed":
            raise ValueError(f"{key}: write it as section.key")
    return overrides


def set_keys(document: dict[str, Any], overrides: Sequence[str], kept: Sequence[str], why: str) -> None:
    """Add `section.key=value` words to what a document sets. Raises: UserError, as `check_keys` does."""
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(f"--set {override}: write it as section.key=value")
        value, _ = load_yaml(text, f"--set {override}")
        try:
            check_keys({key: value}, kept, why)
        except ValueError as error:
            raise UserError(f"--set {override}: {error}") from error
        own = document.setdefault("set", {})
        if isinstance(own, dict):  # what else it may be is refused with the document
            own[key] = value
