"""Images in, answers out: from the base install, without torch, pandas or network.

Shapes: S side of the square, C classes in `logits_NC`, D features; N is one image here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from dermlens.data.crops import read_square
from dermlens.data.metadata import encoder_from_json
from dermlens.data.views import Logits, Numbers, Pixels, average_views
from dermlens.decision.answer import answer
from dermlens.decision.document import DecisionDocument, plain_decision
from dermlens.decision.ood import Arrays
from dermlens.decision.sidecar import read_arrays
from dermlens.deploy.network import ONNX_FILE, OnnxNetwork
from dermlens.errors import UserError
from dermlens.models.document import ModelDocument, OnnxFile, read_document

Image = Path | bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model says of one image.

    Attributes:
        p: calibrated probability of each class, in the order of the logits.
        diagnosis: the class that the decision rule names.
        set: classes of the conformal set, the named one among them.
        ood: out-of-distribution score; none where the model has none.
        abstain: whether the model abstains.
        reason: why, in words; empty where it does not.
    """

    p: dict[str, float]
    diagnosis: str
    set: tuple[str, ...]
    ood: float | None
    abstain: bool
    reason: str


class Predictor:
    """A model that answers; threads may share it.

    Attributes:
        document: what the model is.
        decision: how it gets from logits to an answer.
    """

    def __init__(self, document: ModelDocument, network: OnnxNetwork, arrays: Arrays) -> None:
        self.document = document
        self.decision: DecisionDocument = document.decision or plain_decision(document.classes)
        self._network = network
        self._arrays = arrays
        self._encoder = encoder_from_json(document.encoder)

    @classmethod
    def open(cls, folder: Path | None = None) -> Self:
        """Read a model that `dermlens export` wrote.

        Args:
            folder: with model.json and model.onnx; none for the model that ships with dermlens.

        Raises:
            UserError: a file is absent, damaged, or does not belong to the others.
        """
        folder = shipped_folder() if folder is None else folder
        path = folder / "model.json"
        document = read_document(path)
        network = OnnxNetwork(_onnx_bytes(folder, document.onnx), str(folder / ONNX_FILE))
        if network.classes != len(document.classes):
            raise UserError(
                f"{path} names {len(document.classes)} classes, and {ONNX_FILE} beside it knows"
                f" {network.classes}"
            )
        if network.takes_metadata and network.meta_width != document.meta_width:
            raise UserError(
                f"{path} has metadata of {document.meta_width} numbers, and {ONNX_FILE} beside it takes"
                f" {network.meta_width}"
            )
        return cls(document, network, read_arrays(folder, document.decision))

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels, in the order of the logits."""
        return self.document.classes

    @property
    def limits(self) -> tuple[str, ...]:
        """Sentences that belong beside every answer."""
        known = len(self.classes)
        general = (
            "Research software, not a medical device: it says what a model makes of an image and diagnoses"
            " nobody.",
            f"It knows {known} diagnoses of dermoscopic images and names one of them whatever it is shown.",
        )
        return general + (self.document.onnx.limits if self.document.onnx is not None else ())

    def predict(
        self,
        images: Iterable[Image],
        age: Sequence[float | None] | None = None,
        sex: Sequence[str | None] | None = None,
        site: Sequence[str | None] | None = None,
        *,
        prior: Sequence[float] | None = None,
    ) -> list[Answer]:
        """Answer for each image, independently of the others.

        Args:
            images: files, or their bytes.
            age: of each image's patient in years, 0 to 120; none or NaN where missing; none for no ages.
            sex: female or male, anything else is unknown; likewise.
            site: in HAM10000's or ISIC's words; likewise.
            prior: class shares, in any unit, that the probabilities shall hold for; none for those that the
                model was calibrated for. Diagnosis, set and abstention do not depend on it.

        Raises:
            ImageError: an image cannot be decoded.
            UserError: an age is out of range, or the prior does not fit the model.
            ValueError: images and metadata differ in number.
        """
        images = list(images)
        none = [None] * len(images)
        meta_NM = self._encoder.encode(age or none, sex or none, site or none)
        if len(meta_NM) != len(images):
            raise ValueError(f"{len(images)} images and metadata of {len(meta_NM)}")
        return [
            self._answer(*self.outputs(image, meta_NM[row : row + 1]), prior)
            for row, image in enumerate(images)
        ]

    def outputs(self, image: Image, meta_1M: npt.NDArray[np.float32]) -> tuple[Logits, Numbers]:
        """logits_1C, averaged over the views, and features_1D of one image, before any calibration."""
        document = self.document

        def pixels(size: int) -> Pixels:
            return read_square(image, size, document.crop, document.colour_constancy)[None]

        return average_views(
            document.views, document.size, pixels, lambda x_1SSC: self._network(x_1SSC, meta_1M)
        )

    def _answer(self, logits_1C: Logits, features_1D: Numbers, prior: Sequence[float] | None) -> Answer:
        found = answer(logits_1C, features_1D, self.decision, self._arrays, prior)
        score = float(found.ood_N[0])
        return Answer(
            p=dict(zip(self.classes, found.p_NC[0].tolist(), strict=True)),
            diagnosis=self.classes[found.diagnosis_N[0]],
            set=tuple(code for code, inside in zip(self.classes, found.set_NC[0], strict=True) if inside),
            ood=None if np.isnan(score) else score,
            abstain=bool(found.abstain_N[0]),
            reason=found.reason_N[0],
        )


def shipped_folder() -> Path:
    """The model that comes with dermlens. Raises: UserError when this install has none."""
    folder = Path(str(files("dermlens"))) / "shipped"
    if not (folder / ONNX_FILE).is_file():
        raise UserError(
            "this dermlens comes without a model of its own: name one with --model FOLDER, as"
            " `dermlens export` makes it"
        )
    return folder


def _onnx_bytes(folder: Path, onnx: OnnxFile | None) -> bytes:
    path = folder / ONNX_FILE
    if onnx is None or not path.is_file():
        raise UserError(
            f"{folder} has no {ONNX_FILE}, which predicts: `dermlens export {folder} DIR` makes one"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != onnx.sha256:
        raise UserError(f"{path} is not the file that model.json beside it was written for")
    return content
