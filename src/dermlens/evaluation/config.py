"""What a recipe says of evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt

from dermlens.data.views import ViewsConfig
from dermlens.section import Section


class EvaluationConfig(Section):
    """What is predicted, and how uncertain its numbers are said to be.

    Attributes:
        bootstrap: resamples of lesions for the intervals; 0 leaves intervals out.
        level: of the intervals.
        seed: of the resampling.
        views: of each image whose logits are averaged; they travel with the model.
    """

    bootstrap: NonNegativeInt = 1000
    level: Annotated[float, Field(gt=0, lt=1)] = 0.95
    seed: NonNegativeInt = 0
    views: ViewsConfig = ViewsConfig()
