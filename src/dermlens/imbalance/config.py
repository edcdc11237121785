"""What a recipe says against imbalance: class weights and the loss they weight."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from dermlens.section import Section


class CrossEntropyConfig(Section):
    """Weighted cross-entropy, the paper's Eq. 2."""

    kind: Literal["cross_entropy"] = "cross_entropy"


class FocalConfig(Section):
    """Focal loss; γ = 0 is weighted cross-entropy."""

    kind: Literal["focal"] = "focal"
    gamma: NonNegativeFloat = 2.0


LossConfig = Annotated[CrossEntropyConfig | FocalConfig, Field(discriminator="kind")]


class ImbalanceConfig(Section):
    """Class weights and loss.

    Attributes:
        weights: `none`; `original` N/N_i; `new` N/(C·N_i), the paper's Eq. 3–4; or numbers by class, such as
            `{mel: 5}` of its reference [14], where a class that is not named weighs 1.
        weights_from: count classes in the training role, or in all images as the authors did.
        loss: the loss, by its `kind`.
    """

    weights: Literal["none", "original", "new"] | dict[str, PositiveFloat] = "none"
    weights_from: Literal["train", "all"] = "train"
    loss: LossConfig = CrossEntropyConfig()
