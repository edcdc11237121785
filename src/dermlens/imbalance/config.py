"""What a recipe says against imbalance: which images are drawn, how they weigh, and the loss."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dermlens.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class CrossEntropyConfig(Section):
    """Weighted cross-entropy, the paper's Eq. 2.

    Attributes:
        smoothing: share of the label that is spread over all classes.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class FocalConfig(Section):
    """Focal loss; γ = 0 is weighted cross-entropy."""

    kind: Literal["focal"] = "focal"
    gamma: NonNegativeFloat = 2.0


class LDAMConfig(Section):
    """Margins that widen with rarity; `max_margin`, in logits, is that of the rarest class."""

    kind: Literal["ldam"] = "ldam"
    max_margin: NonNegativeFloat = 2.0


class LogitAdjustedConfig(Section):
    """τ times the log of the sampled prior is added to the logits in training.

    Attributes:
        tau: how much of it.
        prior: `sampled` is of all that an epoch draws; `source` of what it draws of the image's own source,
            so that a source's class shares teach nothing, and classes that a source lacks do not compete.
        smoothing: share of the label that is spread over the classes as the prior is.
    """

    kind: Literal["logit_adjusted"] = "logit_adjusted"
    tau: NonNegativeFloat = 1.0
    prior: Literal["sampled", "source"] = "sampled"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class BalancedSoftmaxConfig(Section):
    """Logit adjustment at τ = 1; `prior` and `smoothing` as there."""

    kind: Literal["balanced_softmax"] = "balanced_softmax"
    prior: Literal["sampled", "source"] = "sampled"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


LossConfig = Annotated[
    CrossEntropyConfig | FocalConfig | LDAMConfig | LogitAdjustedConfig | BalancedSoftmaxConfig,
    Field(discriminator="kind"),
]


class ImageSamplerConfig(Section):
    """Every training image once an epoch."""

    kind: Literal["images"] = "images"


class PowerSamplerConfig(Section):
    """As many images an epoch, class c in proportion to n_c^exponent: ½ square-root, 0 class-balanced."""

    kind: Literal["power"] = "power"
    exponent: Share = 0.5


class ClassDraws(Section):
    """How many of each class are drawn.

    Attributes:
        caps: lesions of a class that an epoch sees at the most, such as `{nv: 1500}`; new ones each time.
        repeats: how often each lesion of a class comes, such as `{df: 4}`; its image is drawn each time.
    """

    caps: dict[str, PositiveInt] = Field(default_factory=dict)
    repeats: dict[str, PositiveInt] = Field(default_factory=dict)


class LesionSamplerConfig(ClassDraws):
    """One image of each lesion an epoch, a random one of those it has.

    Attributes:
        caps, repeats: of all sources together that `by_source` does not name.
        by_source: caps and repeats of a source on its own, such as `{isic2017: {caps: {nv: 600}}}`.
    """

    kind: Literal["lesions"] = "lesions"
    by_source: dict[str, ClassDraws] = Field(default_factory=dict)


SamplerConfig = Annotated[
    ImageSamplerConfig | PowerSamplerConfig | LesionSamplerConfig, Field(discriminator="kind")
]


class ImbalanceConfig(Section):
    """What is done about 67 % nevi.

    Attributes:
        weights: `none`; `original` N/N_i; `new` N/(C·N_i), the paper's Eq. 3–4; `effective_number`; or
            numbers by class, such as `{mel: 5}` of its reference [14], others weigh 1.
        exponent: the weights are raised to it; 0 is none, ½ a compromise.
        beta: of `effective_number`, (1 − β)/(1 − β^n).
        weights_from: count classes in the training role, or in all images as the authors did.
        deferred_epochs: first epochs in which classes weigh alike all the same, as LDAM's authors do.
        confirmation: weight of an image by how its diagnosis was confirmed, such as `{consensus: 0.7}`; ways
            that are not named weigh 1.
        sampler: which images make up an epoch, by its `kind`.
        loss: the loss, by its `kind`; those that take a prior take that of what is sampled.
    """

    weights: Literal["none", "original", "new", "effective_number"] | dict[str, PositiveFloat] = "none"
    exponent: Share = 1.0
    beta: Annotated[float, Field(ge=0, lt=1)] = 0.999
    weights_from: Literal["train", "all"] = "train"
    deferred_epochs: NonNegativeInt = 0
    confirmation: dict[str, PositiveFloat] = Field(default_factory=dict)
    sampler: SamplerConfig = ImageSamplerConfig()
    loss: LossConfig = CrossEntropyConfig()

    @model_validator(mode="after")
    def _keys_are_of_its_kind(self) -> Self:
        if self.weights == "none" and (self.exponent != 1 or self.deferred_epochs):
            raise ValueError("exponent and deferred_epochs are of class weights, and weights is none")
        if self.weights != "effective_number" and self.beta != type(self).model_fields["beta"].default:
            raise ValueError(f"beta is of weights effective_number, and weights is {self.weights}")
        return self
