"""model.json: everything but the weights that a saved model is. Free of torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationError, model_validator

from dermlens.atomic import write_json
from dermlens.data.colour_constancy import ColourConstancy
from dermlens.data.config import ClassFacts
from dermlens.data.metadata import encoder_from_json
from dermlens.data.views import ViewsConfig
from dermlens.decision.dermoscopy import Dermoscopy
from dermlens.decision.document import DecisionDocument
from dermlens.errors import UserError
from dermlens.labels import Vocabulary
from dermlens.models.config import ModelConfig
from dermlens.models.manifest import DOCUMENT_FILE, KEY, check_content, sealed
from dermlens.section import Section


class OnnxFile(Section):
    """What model.onnx beside the document is, where there is one.

    Attributes:
        sha256: of the file.
        precision: of its weights and activations.
        largest_difference: of a logit from the network that it was exported from, over the images that the
            export looked at; int8 or not.
        quantisation: what the int8 file would lose, or loses: the numbers of `dermlens.deploy.gate`.
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
        model: the network.
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
    model: ModelConfig
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

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        self.views.check(own=self.size, pool=self.model.pool)
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
