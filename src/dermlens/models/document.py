"""model.json: everything but the weights that a saved model is. Free of torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from dermlens.errors import UserError
from dermlens.models.config import ModelConfig
from dermlens.section import Section


class ModelDocument(Section):
    """What rebuilds a network and its input.

    Attributes:
        format: of this file.
        dermlens: version that wrote it.
        model: the network.
        classes: labels, in the order of the logits.
        size: side of the square input in pixels.
        crop: how an image becomes square.
        encoder: the fitted metadata encoder.
        meta_width: length of the metadata vector.
        temperature: logits are divided by it before softmax.
        sha256: of the weights file beside.
    """

    format: Literal["dermlens model 1"] = "dermlens model 1"
    dermlens: str
    model: ModelConfig
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    size: PositiveInt
    crop: Literal["center", "squash"]
    encoder: dict[str, Any]
    meta_width: Annotated[int, Field(ge=0)]
    temperature: PositiveFloat = 1.0
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def read_document(path: Path) -> ModelDocument:
    """Read model.json.

    Raises:
        UserError: it is absent, not JSON, or not a description of a model of ours.
    """
    if not path.is_file():
        raise UserError(
            f"{path} does not exist; a saved model is a folder with model.json and model.safetensors"
        )
    try:
        return ModelDocument.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the whole"
        raise UserError(f"{path} does not describe a dermlens model: {key}: {first['msg']}") from error
