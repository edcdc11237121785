"""The base of every part of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of a recipe: unknown keys are errors, defaults are checked too, numbers are finite.

    `parse_recipe` reads it strictly: '3' is not 3, nor is 64.0 the integer 64.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
