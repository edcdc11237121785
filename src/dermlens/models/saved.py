"""A model on disk: model.safetensors next to model.json, and nothing pickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from pydantic import ValidationError

from dermlens import __version__
from dermlens.errors import UserError
from dermlens.files import atomic_path, exclusive, file_sha256
from dermlens.labels import Vocabulary
from dermlens.models.classifier import LesionClassifier, build_classifier
from dermlens.models.config import NetworkConfig
from dermlens.models.pretrained.sources import read_tensors
from dermlens.plugins import trusted_code
from dermlens.predict.decision import DECISION_FILE, Arrays, read_arrays, write_arrays
from dermlens.predict.decision_document import DecisionDocument
from dermlens.predict.document import ClassFacts, Dermoscopy, ModelDocument, read_document, write_document
from dermlens.predict.metadata import MetadataEncoder, encoder_from_json
from dermlens.predict.model_files import DOCUMENT_FILE, check_folder
from dermlens.predict.pictures.preprocessing import ColourConstancy, ViewsConfig

WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model with all that its input and output need.

    Attributes:
        model: the network; once loaded in evaluation mode, on the CPU.
        config: how it was built.
        classes: labels, in the order of the logits.
        size: side of the square input in pixels.
        crop: how an image becomes square.
        encoder: the fitted metadata encoder.
        decision: from logits to an answer; none for softmax and its highest class.
        arrays: of the decision's out-of-distribution score.
        views: what is averaged at prediction.
        colour_constancy: how the light of a picture is taken out of it.
        dermoscopy: what tells a picture that is none, where the model has that.
        described: of own classes, `name` and `malignant`.
    """

    model: LesionClassifier
    config: NetworkConfig
    classes: tuple[str, ...]
    size: int
    crop: Literal["center", "squash"]
    encoder: MetadataEncoder
    decision: DecisionDocument | None = None
    arrays: Arrays = field(default_factory=dict)
    views: ViewsConfig = field(default_factory=ViewsConfig)
    colour_constancy: ColourConstancy = "none"
    dermoscopy: Dermoscopy | None = None
    described: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes, with their names and which are malignant."""
        return Vocabulary(self.classes, self.described)


def save_model(folder: Path, saved: SavedModel) -> None:
    """Write a model; the weights first, then the document that holds their check sum.

    Args:
        folder: a run directory, or any other.
        saved: the network and what its input needs. Its decision and what tells dermoscopy are left out:
            `save_decision` and `save_dermoscopy` write them.

    Raises:
        OSError: as the writing raised it; no half-written file stays.
    """
    state = saved.model.state_dict()
    weights = safetensors.torch.save({name: one.detach().cpu().contiguous() for name, one in state.items()})
    document = ModelDocument(
        dermlens=__version__,
        model=NetworkConfig.of(saved.config).model_dump(mode="json"),
        classes=saved.classes,
        size=saved.size,
        crop=saved.crop,
        encoder=saved.encoder.to_json(),
        meta_width=saved.encoder.width,
        views=saved.views,
        colour_constancy=saved.colour_constancy,
        described={code: ClassFacts.model_validate(facts) for code, facts in saved.described.items()},
        sha256=hashlib.sha256(weights).hexdigest(),
    )
    with atomic_path(folder / WEIGHTS_FILE) as part:
        part.write_bytes(weights)
    (folder / DECISION_FILE).unlink(missing_ok=True)
    write_document(folder, document)


def save_decision(folder: Path, decision: DecisionDocument, arrays: Arrays) -> None:
    """Give a saved model a decision, in the place of one that it may have.

    Args:
        folder: with model.json.
        decision: of the model's classes.
        arrays: of its out-of-distribution score; empty for one that needs none.

    Raises:
        UserError: there is no saved model.
        ValueError: the decision is of other classes.
    """
    with exclusive(folder / DOCUMENT_FILE):
        before = read_document(folder / DOCUMENT_FILE).model_dump(mode="json")
        document = ModelDocument.model_validate(before | {"decision": decision.model_dump(mode="json")})
        write_arrays(folder, arrays)
        write_document(folder, document)


def save_dermoscopy(folder: Path, found: Dermoscopy) -> None:
    """Give a saved model what tells a picture that is no dermoscopy. Raises: UserError without a model."""
    with exclusive(folder / DOCUMENT_FILE):
        document = read_document(folder / DOCUMENT_FILE).model_copy(update={"dermoscopy": found})
        write_document(folder, document)


def load_model(
    folder: Path, *, decision: bool = True, exports: bool = True, trust_code: bool = False
) -> SavedModel:
    """Read a model that `save_model` wrote, every entry accounted for, and every file of its manifest.

    Args:
        folder: a run directory, or any folder with the two files.
        decision: whether its decision too, which whoever is about to replace it does without.
        exports: whether what `dermlens export` writes beside it counts, which whoever exports anew does
            without.
        trust_code: whether import paths in model.json may be resolved: they are code.

    Raises:
        UserError: a file is absent, damaged, or does not belong to the others; or the network is code from
            outside that is not trusted.
    """
    with trusted_code(trust_code):
        return _loaded(folder, decision=decision, exports=exports)


def _loaded(folder: Path, *, decision: bool, exports: bool) -> SavedModel:
    weights_path, document_path = folder / WEIGHTS_FILE, folder / DOCUMENT_FILE
    document = read_document(document_path)
    tensors = read_tensors(weights_path)
    if file_sha256(weights_path) != document.sha256:
        raise UserError(f"{weights_path} is not the file that {document_path} was written for")
    try:
        written = NetworkConfig.model_validate(document.model)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(("model", *map(str, first["loc"])))
        reason = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{document_path} does not describe a dermlens model: {key}: {reason}") from error
    # the weights are all in the file: none are fetched, and none are drawn
    config = written.model_copy(
        update={
            "weights": "none",
            "form": written.resolved_form,
            "conventions": written.resolved_conventions,
        }
    )
    with torch.device("meta"):
        model = build_classifier(
            config,
            num_classes=len(document.classes),
            meta_width=document.meta_width,
            size=document.size,
        )
    try:
        # copies, because a mapped file is not aligned as memory is, which changes speed and the last bits
        copies = {name: tensor.clone() for name, tensor in tensors.items()}
        model.load_state_dict(copies, strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{weights_path} does not fit the network of {document_path}: {reason}") from error
    if document.dermoscopy is not None:
        model.watched = document.dermoscopy.layer
    if exports:
        check_folder(folder, document.manifest, but={WEIGHTS_FILE, DECISION_FILE})  # which are read here
    return SavedModel(
        model.eval(),
        written,
        document.classes,
        document.size,
        document.crop,
        encoder_from_json(document.encoder),
        document.decision if decision else None,
        read_arrays(folder, document.decision) if decision else {},
        document.views,
        document.colour_constancy,
        document.dermoscopy,
        {code: facts.model_dump() for code, facts in document.described.items()},
    )
