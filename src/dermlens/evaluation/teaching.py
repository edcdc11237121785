"""What else than the training images reached a network: choices of an epoch, and the labels of teachers."""

from __future__ import annotations

from collections.abc import Sequence

from dermlens.recipe import Recipe


def epoch_roles(recipes: Sequence[Recipe]) -> dict[str, Recipe]:
    """The roles on which a training's epoch was chosen, each with the first recipe that chose there."""
    found: dict[str, Recipe] = {}
    for recipe in recipes:
        chosen = recipe.train.keep != "last" or recipe.train.early_stopping is not None
        if chosen and recipe.train.monitor_role != "none":
            found.setdefault(recipe.train.monitor_role, recipe)
    return found


def taught(recipes: Sequence[Recipe]) -> int:
    """How many of the trainings had soft labels beside the given ones."""
    return sum(recipe.train.distillation is not None for recipe in recipes)
