"""model.json: the network and its input, and the decision that makes its scores answers. Free of torch."""

from __future__ import annotations

import json
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

# What a model's decision is, as it stands in model.json: a few numbers a class, and where they came from.
#
# Every tuple has one entry for each class, in the order of the logits. The larger arrays of an
# out-of-distribution score lie beside model.json in decision.npz.


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
    """What model.onnx beside the document is, where there is one.

    Attributes:
        sha256: of the file.
        precision: of its weights and activations.
        largest_difference: of a logit from the network that it was exported from, over the images that the
            export looked at; int8 or not.
        quantisation: what the int8 file would lose, or loses: the numbers of `dermlens.export.int8`.
        limits: sentences that stand beside every answer.
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

    format: Literal["dermlens model 1"] = "dermlens model 1"
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
    def _read_temperature(cls, content: Any) -> Any:
        """Read what 0.1.0 wrote, a bare temperature, as a decision that scales and knows no prior or rule."""
        if not isinstance(content, dict) or "temperature" not in content or "decision" in content:
            return content
        rest = {name: value for name, value in content.items() if name != "temperature"}
        if (temperature := content["temperature"]) == 1.0:
            return rest
        classes = content.get("classes")
        if not isinstance(classes, list):
            return rest  # that they are no list is said below
        offsets = [0.0] * len(classes)
        scaling = {"temperature": temperature}
        return rest | {"decision": {"classes": classes, "scaling": scaling, "rule": {"offsets": offsets}}}

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
        said = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path} does not describe a dermlens model: {key}: {said}") from error
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
