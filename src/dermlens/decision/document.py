"""What a model's decision is, as it stands in model.json: a few numbers a class, and where they came from.

Every tuple has one entry for each class, in the order of the logits. The larger arrays of an
out-of-distribution score lie beside model.json in decision.npz.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from dermlens.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Scaling(Section):
    """log p = log softmax(scale · logits / temperature + bias).

    Attributes:
        temperature: one number for all classes.
        scale: one a class; none for ones.
        bias: one a class; none for zeros.
        cross_validated: log loss of each kind on the calibration role, each image scaled by numbers that were
            fitted without its lesion; what the kind was chosen by.
    """

    temperature: PositiveFloat = 1.0
    scale: tuple[NonNegativeFloat, ...] | None = None
    bias: tuple[float, ...] | None = None
    cross_validated: dict[str, NonNegativeFloat] = Field(default_factory=dict)


class Rule(Section):
    """diagnosis = argmax_c (log p_c + offset_c), p being calibrated for the stated prior.

    Attributes:
        kind: `argmax` for no offsets; `logit_adjusted` for −tau · log prior; `per_class` for offsets fitted
            one by one.
        offsets: one a class.
        tau: of `logit_adjusted`; none for the others.
        cross_validated: mean recall of each kind on the selection role, each image decided by a rule that was
            fitted without its lesion; what the kind was chosen by.
        lesions: of each class on the selection role.
    """

    kind: Literal["argmax", "logit_adjusted", "per_class"] = "argmax"
    offsets: tuple[float, ...]
    tau: float | None = None
    cross_validated: dict[str, Share] = Field(default_factory=dict)
    lesions: tuple[NonNegativeInt, ...] = ()


class Sets(Section):
    """Class-conditional split conformal sets: a class is in the set where its score reaches its threshold.

    The score is the class's softmax probability before scaling, because scaling has seen the truth of the
    calibration images, and the guarantee holds only for scores that have not.

    Attributes:
        alpha: a class's share of lesions that the set may miss.
        thresholds: one a class; 0 lets the class into every set.
        lesions: of each class on the calibration role.
        pooled: classes with too few lesions for a threshold and a guarantee of their own.
        pool: classes whose lesions, taken together, gave the threshold that the pooled ones share.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.1
    thresholds: tuple[Share, ...]
    lesions: tuple[NonNegativeInt, ...]
    pooled: tuple[str, ...] = ()
    pool: tuple[str, ...] = ()


class Ood(Section):
    """How unlike the training images an image is, and from where on that is too much.

    Attributes:
        kind: `energy` of the logits; `mahalanobis` distance of the features to the nearest class; `knn`
            distance to the k-th nearest training image.
        threshold: an image with a higher score is a stranger.
        kept: share of the calibration role's lesions that are no strangers.
        neighbours: k of `knn`; none for the others.
        sha256: of decision.npz, which `mahalanobis` and `knn` need; none for `energy`.
    """

    kind: Literal["energy", "mahalanobis", "knn"]
    threshold: float
    kept: Share
    neighbours: PositiveInt | None = None
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.kind == "energy") != (self.sha256 is None):
            raise ValueError("sha256 names decision.npz: mahalanobis and knn have one, energy has none")
        if (self.kind == "knn") != (self.neighbours is not None):
            raise ValueError("neighbours belongs to knn, and knn needs it")
        return self


class Abstention(Section):
    """When the model abstains, besides before strangers.

    Attributes:
        least_confidence: it abstains below; the confidence is the share of the named diagnosis in
            softmax(log p + offsets). None for no such limit.
        largest_set: it abstains where more diagnoses than these are in the set; none for no such limit.
    """

    least_confidence: Share | None = None
    largest_set: PositiveInt | None = None


class DecisionDocument(Section):
    """The decision that travels with a model.

    Attributes:
        classes: labels, in the order of the logits.
        prior: class shares that the probabilities are calibrated for; none where nobody knows.
        scaling: from logits to probabilities.
        rule: from probabilities to a diagnosis.
        sets: conformal sets; none for the diagnosis alone.
        ood: out-of-distribution score; none for no such score.
        abstention: when it abstains.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    prior: tuple[PositiveFloat, ...] | None = None
    scaling: Scaling = Scaling()
    rule: Rule
    sets: Sets | None = None
    ood: Ood | None = None
    abstention: Abstention = Abstention()

    @model_validator(mode="after")
    def _one_a_class(self) -> Self:
        sets = self.sets
        of_classes: dict[str, tuple[float, ...] | None] = {
            "prior": self.prior,
            "scaling.scale": self.scaling.scale,
            "scaling.bias": self.scaling.bias,
            "rule.offsets": self.rule.offsets,
            "sets.thresholds": sets.thresholds if sets else None,
            "sets.lesions": sets.lesions if sets else None,
        }
        for name, numbers in of_classes.items():
            if numbers is not None and len(numbers) != len(self.classes):
                raise ValueError(f"{name} has {len(numbers)} numbers for {len(self.classes)} classes")
        if self.prior is not None and abs(sum(self.prior) - 1) > 1e-6:
            raise ValueError("the prior does not sum to 1")
        if sets is not None and (strange := set(sets.pooled) | set(sets.pool)) - set(self.classes):
            raise ValueError(f"sets.pooled names {min(strange - set(self.classes))}, which is no class")
        return self


def plain_decision(classes: tuple[str, ...], temperature: float = 1.0) -> DecisionDocument:
    """The decision of a model that was given none: softmax and its highest class, an answer to everything.

    Args:
        classes: labels, in the order of the logits.
        temperature: logits are divided by it.
    """
    return DecisionDocument(
        classes=classes,
        scaling=Scaling(temperature=temperature),
        rule=Rule(offsets=(0.0,) * len(classes)),
    )
