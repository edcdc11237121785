"""The systems of the paper's tables, each a recipe that ships."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, Literal

import yaml
from pydantic import Field, PositiveInt

from dermlens.recipe import Recipe, load_recipe, parse_recipe
from dermlens.section import Section


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
        seeds: trainings that a table's mean and deviation are of.
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
