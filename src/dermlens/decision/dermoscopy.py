"""Whether a picture is dermoscopy at all: one linear look at what the network sees in it.

An out-of-distribution score says how unlike a picture is to those of the training. Dermoscopy from another
clinic can be that too, and a telephone's photograph of a lesion need not be; what tells the two apart is a
boundary that was fitted on both.

NumPy only. Shapes: N images, D features.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from dermlens.errors import UserError
from dermlens.metrics import Bools, Floats
from dermlens.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class Dermoscopy(Section):
    """The boundary: score = features · weights + bias; a picture below 0 does not look like dermoscopy.

    Attributes:
        weights: one a feature of the image, the metadata's part left out.
        bias: places the boundary where `kept` says.
        kept: share of dermoscopic pictures that stay above it, every set of them counting alike, each picture
            judged by a boundary that was fitted without its lesion.
        dermoscopic: pictures that it was fitted on, by set.
        other: likewise, of pictures that are none.
    """

    weights: Annotated[tuple[float, ...], Field(min_length=1)]
    bias: float
    kept: Share
    dermoscopic: dict[str, PositiveInt]
    other: dict[str, PositiveInt]

    def scores(self, features_ND: NDArray[np.floating]) -> Floats:
        """How far on the side of dermoscopy, (N,); log odds but for the bias.

        Raises:
            UserError: the features are of another network.
        """
        self.check(features_ND.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is no dermoscopy
            return np.asarray(features_ND.astype(np.float64) @ np.array(self.weights) + self.bias)

    def check(self, features: int) -> None:
        """Make sure that it is of a network with so many features. Raises: UserError."""
        if features != len(self.weights):
            raise UserError(
                f"what tells dermoscopy in model.json has {len(self.weights)} weights, and the network"
                f" {features} features"
            )


def is_dermoscopy(score_N: Floats) -> Bools:
    """Which scores are of what looks like dermoscopy; what is no number, or is without end, is not."""
    return np.asarray((score_N >= 0) & np.isfinite(score_N))
