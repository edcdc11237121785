"""What a recipe says of evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt

from dermlens.section import Section


class EvaluationConfig(Section):
    """How uncertain the numbers are said to be.

    Attributes:
        bootstrap: resamples of lesions for the intervals; 0 leaves intervals out.
        level: of the intervals.
        seed: of the resampling.
    """

    bootstrap: NonNegativeInt = 1000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: NonNegativeInt = 0
