"""model.json: the network and its input, and the decision that makes its scores answers. Free of torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    Field,
    NonNegativeFloat,
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
from dermlens.predict.decision_document import DecisionDocument, Share
from dermlens.predict.metadata import encoder_from_json
from dermlens.predict.model_files import DOCUMENT_FILE, KEY, check_content, sealed
from dermlens.predict.pictures.preprocessing import ColourConstancy, ViewsConfig
from dermlens.predict.priors import default_prior

AnyDocument = TypeVar("AnyDocument", bound=Section)

# Whether a picture is dermoscopy at all: two looks at what the network sees in it.
#
# An out-of-distribution score says how unlike a picture is to those of the training. Dermoscopy from another
# clinic can be that too, and a telephone's photograph of a lesion need not be; what tells the two apart is a
# boundary that was fitted on both. A boundary knows only the kinds of pictures that it was shown. A picture
# of another kind is recognised by its distance from all dermoscopy.
#
# NumPy only. Shapes: N images, D features, K directions.


class Typical(Section):
    """How far a picture is from all dermoscopy: a Mahalanobis distance.

    The covariance has a variance of its own along a few directions, and one and the same in all others.

    Attributes:
        mean, scale: of each feature, (D,); what follows is of features less their mean, by their scale.
        directions: orthonormal, (K, D).
        variances: along them, (K,).
        rest: variance in every other direction.
        farthest: squared distance up to which a picture may be dermoscopy.
    """

    mean: tuple[float, ...]
    scale: tuple[PositiveFloat, ...]
    directions: tuple[tuple[float, ...], ...]
    variances: tuple[PositiveFloat, ...]
    rest: PositiveFloat
    farthest: PositiveFloat

    @model_validator(mode="after")
    def _of_one_width(self) -> Self:
        if {len(row) for row in (self.scale, *self.directions)} - {len(self.mean)}:
            raise ValueError("mean, scale and each of the directions have a number a feature")
        if len(self.variances) != len(self.directions):
            raise ValueError("each of the directions has a variance")
        return self

    def distances(self, features_ND: NDArray[np.floating]) -> Floats:
        """Squared, (N,)."""
        z_ND = (features_ND - np.array(self.mean)) / np.array(self.scale)
        along_NK = z_ND @ np.array(self.directions).reshape(-1, len(self.mean)).T
        less_K = 1 / np.array(self.variances) - 1 / self.rest
        return np.asarray((z_ND**2).sum(axis=1) / self.rest + along_NK**2 @ less_K)


class Dermoscopy(Section):
    """The boundary: score = features · weights + bias; a picture below 0 does not look like dermoscopy.

    Nor does one that is too far from all of it.

    Attributes:
        weights: one a feature of the image, the metadata's part left out; with a `layer`, of its features
            alone, which come last.
        layer: the layer of the backbone whose map the boundary looks at; empty, in models of before, for the
            features of the last layer.
        bias: places the boundary where `kept` says.
        kept: share of dermoscopic pictures that stay above it, every set of them counting alike, each picture
            judged by a boundary that was fitted without its lesion.
        typical: what dermoscopy is like; none in models of before.
        dermoscopic: pictures that it was fitted on, by set.
        other: the same of pictures that are none.
    """

    weights: Annotated[tuple[float, ...], Field(min_length=1)]
    layer: str = ""
    bias: float
    kept: Share
    typical: Typical | None = None
    dermoscopic: dict[str, PositiveInt]
    other: dict[str, PositiveInt]

    def scores(self, features_ND: NDArray[np.floating]) -> Floats:
        """How far on the side of dermoscopy, (N,).

        Log odds but for the bias or, where that is less, how much nearer to all dermoscopy it is than it may
        be, as a share of that distance.

        Raises:
            UserError: the features are of another network.
        """
        self.check(features_ND.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is no dermoscopy
            own_NE = features_ND[:, -len(self.weights) :].astype(np.float64)
            score_N = own_NE @ np.array(self.weights) + self.bias
            if self.typical is not None:
                score_N = np.minimum(score_N, 1 - self.typical.distances(own_NE) / self.typical.farthest)
            return np.asarray(score_N)

    def check(self, features: int) -> None:
        """Make sure that it is of a network with so many features. Raises: UserError."""
        if features < len(self.weights) or (features > len(self.weights) and not self.layer):
            raise UserError(
                f"what tells dermoscopy in model.json has {len(self.weights)} weights, and the network"
                f" {features} features"
            )


def of_last_layer(features_ND: NDArray[np.floating], found: Dermoscopy | None) -> NDArray[np.floating]:
    """What the last layer sees, without the features of an earlier one that a boundary looks at."""
    early = len(found.weights) if found is not None and found.layer else 0
    return features_ND[:, : features_ND.shape[1] - early]


def is_dermoscopy(score_N: Floats) -> Bools:
    """Which scores are those of dermoscopy; NaN and infinity are not."""
    return np.asarray((score_N >= 0) & np.isfinite(score_N))


class ClassFacts(Section):
    """What is known of a class that is none of the seven.

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
        dermoscopy: what tells a picture that is none; without it, what is out-of-distribution counts
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
    def _of_now(cls, content: Any) -> Any:
        return updated(content) if isinstance(content, dict) else content

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


def updated(content: dict[str, Any]) -> dict[str, Any]:
    """A model.json as 0.1.0 wrote it, with a decision of a rule of its own or a bare temperature, as of now.

    The probabilities of such a decision held for the training's class shares. Its temperature and biases
    become those at equal class shares: log p − log π is log p there, but for a constant. The rule that named
    a diagnosis by offsets is left out, for the most probable one is named; the sets keep the score that they
    were fitted on; nobody has fitted marks of suspicion, so nothing is flagged.

    Raises:
        ValueError: its decision cannot be read.
    """
    rest = {name: value for name, value in content.items() if name != "temperature"}
    old, classes, known = rest.get("decision"), rest.get("classes"), rest.get("format") == "dermlens model 2"
    if (known and rest == content) or not isinstance(classes, list | tuple):
        return rest  # that they are no list is reported with the rest
    if rest.get("format") == "dermlens model 1":
        rest["format"] = "dermlens model 2"
    if old is None and content.get("temperature", 1.0) != 1.0:
        rest["decision"] = {"classes": classes, "scaling": {"temperature": content["temperature"]}}
    if not isinstance(old, dict) or "rule" not in old:
        return rest
    try:
        found = {name: old[name] for name in ("classes", "ood", "abstention") if name in old}
        scaling = {name: old.get("scaling", {}).get(name) for name in ("temperature", "scale", "bias")}
        scaling["temperature"] = scaling["temperature"] or 1.0
        vocabulary = Vocabulary(tuple(classes), rest.get("described"))
        if old.get("prior") is not None:  # somebody calibrated it
            bias_C = np.array(scaling["bias"] or [0.0] * len(classes)) - np.log(old["prior"])
            scaling["bias"] = (bias_C - bias_C.mean()).tolist()
            found["prior"] = reference = default_prior(vocabulary.classes).model_dump()
            if old.get("sets"):
                found["sets"] = old["sets"] | {"score": "unscaled"}
            if malignant := vocabulary.malignant:
                others = {"premalignant": vocabulary.premalignant, "reference": reference}
                found["suspicion"] = {"malignant": malignant, **others}
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"its decision cannot be read: {error}") from error
    return rest | {"decision": found | {"scaling": scaling}}


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
    content, document = read_described(path, ModelDocument, "model")
    check_content(path, content)
    return document


def read_described(path: Path, kind: type[AnyDocument], what: str) -> tuple[dict[str, Any], AnyDocument]:
    """Read a document that describes something.

    Args:
        path: of a JSON file.
        kind: its class.
        what: it describes, for errors.

    Returns:
        What the file holds, and the same as its class.

    Raises:
        UserError: it is not JSON, or not of that class.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return content, kind.model_validate(content)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path} does not describe a dermlens {what}: {key}: {message}") from error


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
