"""model.json: the network and its input, and the decision that makes its scores answers. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from dermlens.documents import Section
from dermlens.errors import UserError
from dermlens.files import write_json
from dermlens.labels import Vocabulary
from dermlens.metrics import Bools, Floats
from dermlens.predict.metadata import encoder_from_json
from dermlens.predict.model_files import DOCUMENT_FILE, KEY, check_content, sealed
from dermlens.predict.pictures.preprocessing import ColourConstancy, ViewsConfig
from dermlens.predict.priors import ClassPrior, default_prior

# What a model's decision is, as it stands in model.json: a few numbers a class, and where they came from.
#
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
        caught: share of the malignant ones that are flagged at the shipped mark.
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
        source: whose threshold that is.
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


def decision_of_0_1(old: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """A decision as 0.1.0 wrote it, whose probabilities held for the training's class shares, as one
    of today.

    Its temperature and biases become those at equal class shares: log p − log π is log p there, but for a
    constant. The rule that named a diagnosis by offsets is left out, for the most probable one is named; the
    sets keep the score that they were fitted on; nobody has fitted marks of suspicion, so nothing is flagged.

    Args:
        old: `decision` of a `dermlens model 1`, with `rule`, and `prior` as shares or none.
        vocabulary: the model's classes.
    """
    classes = vocabulary.classes
    scaling = {name: old.get("scaling", {}).get(name) for name in ("temperature", "scale", "bias")}
    scaling["temperature"] = scaling["temperature"] or 1.0
    kept = {name: old[name] for name in ("classes", "ood", "abstention") if name in old}
    if old.get("prior") is None:  # nobody calibrated it
        return kept | {"scaling": scaling}
    bias_C = np.array(scaling["bias"] or [0.0] * len(classes)) - np.log(old["prior"])
    scaling["bias"] = (bias_C - bias_C.mean()).tolist()
    found: dict[str, Any] = {"prior": default_prior(classes).model_dump(), "scaling": scaling}
    if old.get("sets"):
        found["sets"] = old["sets"] | {"score": "unscaled"}
    if vocabulary.malignant:
        found["suspicion"] = {
            "malignant": vocabulary.malignant,
            "premalignant": vocabulary.premalignant,
            "reference": default_prior(classes).model_dump(),
        }
    return kept | found


# Whether a picture is dermoscopy at all: one linear look at what the network sees in it.
#
# An out-of-distribution score says how unlike a picture is to those of the training. Dermoscopy from another
# clinic can be that too, and a telephone's photograph of a lesion need not be; what tells the two apart is a
# boundary that was fitted on both.
#
# NumPy only. Shapes: N images, D features.


class Dermoscopy(Section):
    """The boundary: score = features · weights + bias; a picture below 0 does not look like dermoscopy.

    Attributes:
        weights: one a feature of the image, the metadata's part left out.
        bias: places the boundary where `kept` says.
        kept: share of dermoscopic pictures that stay above it, every set of them counting alike, each picture
            judged by a boundary that was fitted without its lesion.
        dermoscopic: pictures that it was fitted on, by set.
        other: the same of pictures that are none.
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


class ClassFacts(Section):
    """What a class of one's own is.

    Attributes:
        name: in full; none for the code itself.
        malignant: whether it counts as malignant.
    """

    name: Annotated[str, Field(min_length=1)] | None = None
    malignant: bool = False


# model.json: everything but the weights that a saved model is. Free of torch.


class OnnxFile(Section):
    """What model.onnx next to the document is, where there is one.

    Attributes:
        sha256: of the file.
        precision: of its weights and activations.
        largest_difference: of a logit from the network that it was exported from, over the images that the
            export looked at; int8 or not.
        quantisation: what the int8 file would lose, or loses: the numbers of `dermlens.export.int8`.
        limits: sentences shown with every answer.
    """

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    precision: Literal["fp32", "int8"]
    largest_difference: NonNegativeFloat
    quantisation: dict[str, Any] | None = None
    limits: tuple[str, ...] = ()


class ModelDocument(Section):
    """What rebuilds a network and its input.

    Attributes:
        format: of this file.
        dermlens: version that wrote it.
        model: the network's section of the recipe, as it was written; `dermlens.models.saved` reads it.
        classes: labels, in the order of the logits.
        described: of classes that are not ours, what they are called and whether they are malignant.
        size: side of the square input in pixels.
        crop: how an image becomes square.
        encoder: the fitted metadata encoder.
        meta_width: length of the metadata vector.
        colour_constancy: how the light of a picture is taken out of it.
        decision: from logits to an answer; none for softmax and its highest class.
        dermoscopy: what tells a picture that is none; without it, whatever the decision finds strange counts
            as none.
        views: what is averaged at prediction.
        sha256: of the weights in model.safetensors.
        onnx: what model.onnx is, where there is one.
        manifest: SHA-256 of each file of the folder, model.json's own of all the rest of it; none in what
            0.1.0 wrote.
    """

    format: Literal["dermlens model 2"] = "dermlens model 2"
    dermlens: str
    model: dict[str, Any]
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    described: dict[str, ClassFacts] = Field(default_factory=dict)
    size: PositiveInt
    crop: Literal["center", "squash"]
    encoder: dict[str, Any]
    meta_width: Annotated[int, Field(ge=0)]
    colour_constancy: ColourConstancy = "none"
    decision: DecisionDocument | None = None
    dermoscopy: Dermoscopy | None = None
    views: ViewsConfig = ViewsConfig()
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    onnx: OnnxFile | None = None
    manifest: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read_0_1(cls, content: Any) -> Any:
        """Read what 0.1.0 wrote: a decision with a rule of its own, or a bare temperature."""
        old_key = isinstance(content, dict) and "temperature" in content
        if not isinstance(content, dict) or (content.get("format") == "dermlens model 2" and not old_key):
            return content
        rest = {name: value for name, value in content.items() if name != "temperature"}
        classes = rest.get("classes")
        if not isinstance(classes, list | tuple):
            return rest  # that they are no list is reported below
        if rest.get("format") == "dermlens model 1":
            rest["format"] = "dermlens model 2"
        old = rest.get("decision")
        if isinstance(old, dict) and "rule" in old:
            try:
                rest["decision"] = decision_of_0_1(old, Vocabulary(tuple(classes), rest.get("described")))
            except (TypeError, ValueError, AttributeError) as error:
                raise ValueError(f"its decision cannot be read: {error}") from error
        elif old is None and content.get("temperature", 1.0) != 1.0:
            rest["decision"] = {"classes": classes, "scaling": {"temperature": content["temperature"]}}
        return rest

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes, with their names and which are malignant."""
        return Vocabulary(self.classes, {code: facts.model_dump() for code, facts in self.described.items()})

    @property
    def backbone(self) -> str:
        """Of the network, by the table of backbones."""
        return str(self.model.get("backbone", "network"))

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        self.views.check(own=self.size, pool=str(self.model.get("pool", "flatten")))
        if self.decision is not None and self.decision.classes != self.classes:
            raise ValueError("the decision is not of these classes in this order")
        return self

    @model_validator(mode="after")
    def _encoder_encodes(self) -> Self:
        try:
            width = len(encoder_from_json(self.encoder).missing)
        except UserError as error:
            raise ValueError(str(error)) from error
        if width != self.meta_width:
            raise ValueError(f"meta_width is {self.meta_width}, and the encoder makes {width} numbers")
        return self


def read_document(path: Path) -> ModelDocument:
    """Read model.json.

    Raises:
        UserError: it is absent, not JSON, not a description of a model of ours, or was changed since it was
            written.
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; a saved model is a folder with model.json and model.safetensors"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        document = ModelDocument.model_validate(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path} does not describe a dermlens model: {key}: {message}") from error
    check_content(path, content)
    return document


def write_document(folder: Path, document: ModelDocument) -> ModelDocument:
    """Write model.json, with the manifest of the files that are in the folder; so it comes last.

    Returns:
        The document, with its manifest.

    Raises:
        OSError: as the writing raised it.
    """
    content = sealed(folder, document.model_dump(mode="json"))
    write_json(folder / DOCUMENT_FILE, content)
    return document.model_copy(update={KEY: content[KEY]})
