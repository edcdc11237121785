"""Piecewise-linear brightening, a reading of Nadipineni 2020 (arXiv 2008.09418, [9]).

Their curve was not found. Here a pixel's value goes through two straight pieces that meet at
(knot, knot + lift), shares of 255: steep below, flat above, black and white where they were. All three
colours go through the same curve. The lift is uniform from 0 to `lift`, drawn for each image.
"""

from __future__ import annotations

from typing import Annotated, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from dermlens.documents import Section
from dermlens.plugins import plugin

Share = Annotated[float, Field(gt=0, lt=1)]


class BrighteningConfig(Section):
    """Attributes:
    knot: where the pieces meet.
    lift: the most by which a pixel there is brightened.
    """

    knot: Share = 0.5
    lift: Share = 0.2

    @model_validator(mode="after")
    def _white_is_the_brightest(self) -> Self:
        if self.knot + self.lift >= 1:
            raise ValueError(f"knot {self.knot} + lift {self.lift} must be below 1, which is white")
        return self


@plugin("augmentation", BrighteningConfig)
def brightening(x_BCHW: Tensor, generator: torch.Generator | None, *, knot: float, lift: float) -> Tensor:
    """For `augment.plugins`: float32 of 0 to 255, as it came in."""
    device = torch.device("cpu") if generator is None else generator.device
    drawn_B = lift * torch.rand(len(x_BCHW), generator=generator, device=device)
    return brightened(x_BCHW, knot, drawn_B.to(x_BCHW.device))


def brightened(x_BCHW: Tensor, knot: float, lift_B: Tensor) -> Tensor:
    """Each image through its own curve.

    Args:
        x_BCHW: 0 … 255.
        knot: share of 255.
        lift_B: shares of 255, below 1 − knot.
    """
    x, lift = x_BCHW / 255, lift_B[:, None, None, None]
    below = x * ((knot + lift) / knot)
    above = 1 - (1 - x) * ((1 - knot - lift) / (1 - knot))
    return 255 * torch.where(x < knot, below, above)
