"""A model's decision as it stands in model.json: a few numbers a class, and where they came from."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from dermlens.documents import Section
from dermlens.predict.priors import ClassPrior

# Every tuple has one entry for each class, in the order of the logits. The larger arrays of an
# out-of-distribution score lie next to model.json in decision.npz.


Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Scaling(Section):
    """log p = log softmax(scale · logits / temperature + bias), where all classes are equally frequent.

    Attributes:
        temperature: one number for all classes.
        scale: one a class, of some models that 0.1.0 calibrated; none for ones.
        bias: one a class; none for zeros.
        log_loss: at equal class shares, of images that had no part in the fit: `before` and `after`.
    """

    temperature: PositiveFloat = 1.0
    scale: tuple[NonNegativeFloat, ...] | None = None
    bias: tuple[float, ...] | None = None
    log_loss: dict[str, NonNegativeFloat] = Field(default_factory=dict)


class MarkAt(Section):
    """What a mark does to one source's lesions.

    Attributes:
        threshold: the source's own, where it had malignant lesions enough for one; else none.
        malignant, benign: lesions that it was measured on.
        caught: share of the malignant ones that are flagged at the shipped mark; of a lesion's images counts
            the share that is.
        benign_flagged: share of the benign ones that are, too; none without any.
    """

    threshold: float | None
    malignant: NonNegativeInt
    benign: NonNegativeInt
    caught: Share | None
    benign_flagged: Share | None


class Mark(Section):
    """From where on a lesion is flagged.

    Attributes:
        catches: share of malignant lesions that it was set to catch.
        threshold: the lowest over sources.
        source: whose threshold that is; of sources that were taken together, all names with + between them.
        benign_flagged: share of benign lesions flagged at it, every source alike; none without any.
        by_source: what it does to each.
    """

    catches: Annotated[float, Field(gt=0, lt=1)]
    threshold: Share
    source: str
    benign_flagged: Share | None = None
    by_source: dict[str, MarkAt] = Field(default_factory=dict)


class Suspicion(Section):
    """How suspicious of malignancy a lesion is, whatever it is named.

    Attributes:
        malignant: classes whose probabilities are summed.
        premalignant: classes that are neither counted as malignant nor as benign.
        reference: the case mix at which they are taken; no other prior moves the score.
        marks: from where on a lesion is flagged; the one that catches most comes last.
    """

    malignant: Annotated[tuple[str, ...], Field(min_length=1)]
    premalignant: tuple[str, ...] = ()
    reference: ClassPrior
    marks: tuple[Mark, ...] = ()

    @property
    def mark(self) -> Mark | None:
        """The one that flags: which catches most."""
        return max(self.marks, key=lambda mark: mark.catches, default=None)


class Sets(Section):
    """Class-conditional split conformal sets: a class is in the set where its score reaches its threshold.

    The set is then closed upwards under the prior shown: it holds the named class, and skips none that is
    more probable than one it holds.

    Attributes:
        alpha: a class's share of lesions that the set may miss.
        thresholds: one a class; 0 lets the class into every set.
        score: `equal`, the probability at equal class shares; `unscaled`, the network's softmax, as
            0.1.0 had it.
        lesions: of each class, that the thresholds were fitted on.
        pooled: classes with too few lesions for a threshold and a guarantee of their own.
        pool: classes whose lesions, taken together, gave the threshold that the pooled ones share.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.1
    thresholds: tuple[Share, ...]
    score: Literal["equal", "unscaled"] = "equal"
    lesions: tuple[NonNegativeInt, ...]
    pooled: tuple[str, ...] = ()
    pool: tuple[str, ...] = ()


class Ood(Section):
    """How unlike the training images an image is, and from where on that is too much.

    Attributes:
        kind: `energy` of the logits; `mahalanobis` distance of the features to the nearest class; `knn`
            distance to the k-th nearest training image.
        threshold: an image with a higher score is out-of-distribution.
        kept: share of the calibration role's lesions that are in-distribution.
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
    """When an answer is uncertain, apart from out-of-distribution images.

    Attributes:
        least_confidence: the named diagnosis has a lower probability; none for no such limit.
        largest_set: more diagnoses than these are in the set; none for no such limit.
    """

    least_confidence: Share | None = None
    largest_set: PositiveInt | None = None


class DecisionDocument(Section):
    """The decision that travels with a model.

    Attributes:
        classes: labels, in the order of the logits.
        prior: the case mix that answers hold for unless another is asked for; none for a model that
            nobody has
            calibrated, whose probabilities are the network's own.
        scaling: from logits to probabilities at equal class shares.
        suspicion: of malignancy; none where no class is known to be malignant.
        sets: conformal sets; none for the diagnosis alone.
        ood: out-of-distribution score; none for no such score.
        abstention: when an answer is uncertain.
    """

    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    prior: ClassPrior | None = None
    scaling: Scaling = Scaling()
    suspicion: Suspicion | None = None
    sets: Sets | None = None
    ood: Ood | None = None
    abstention: Abstention = Abstention()

    @model_validator(mode="after")
    def _one_a_class(self) -> Self:
        sets, suspicion = self.sets, self.suspicion
        of_classes: dict[str, tuple[float, ...] | None] = {
            "prior": self.prior.shares if self.prior else None,
            "scaling.scale": self.scaling.scale,
            "scaling.bias": self.scaling.bias,
            "suspicion.reference": suspicion.reference.shares if suspicion else None,
            "sets.thresholds": sets.thresholds if sets else None,
            "sets.lesions": sets.lesions if sets else None,
        }
        for name, numbers in of_classes.items():
            if numbers is not None and len(numbers) != len(self.classes):
                raise ValueError(f"{name} has {len(numbers)} numbers for {len(self.classes)} classes")
        named = {
            "sets.pooled": {*sets.pooled, *sets.pool} if sets else set(),
            "suspicion": {*suspicion.malignant, *suspicion.premalignant} if suspicion else set(),
        }
        for name, codes in named.items():
            if unknown := codes - set(self.classes):
                raise ValueError(f"{name} names {min(unknown)}, which is no class")
        return self


def plain_decision(classes: tuple[str, ...], temperature: float = 1.0) -> DecisionDocument:
    """The decision of a model that nobody has calibrated: softmax and its highest class.

    Args:
        classes: labels, in the order of the logits.
        temperature: logits are divided by it.
    """
    return DecisionDocument(classes=classes, scaling=Scaling(temperature=temperature))
