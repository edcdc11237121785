"""The model's card as JSON."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from dermlens.data.images import FORMATS
from dermlens.data.vocabulary import known_sites
from dermlens.deploy.predictor import Predictor
from dermlens.deploy.words import heading_json
from dermlens.serve.config import ServeConfig

CARD = "MODEL_CARD.md"


def describe(predictor: Predictor, config: ServeConfig) -> dict[str, Any]:
    """What the model is, what was measured of it, what may be asked, and its card as it is printed."""
    document = predictor.document
    card = predictor.folder / CARD if predictor.folder is not None else None
    return heading_json(predictor, None) | {
        "network": document.model.backbone,
        "size": document.size,
        "crop": document.crop,
        "views": document.views.model_dump(mode="json"),
        "precision": document.onnx.precision if document.onnx is not None else None,
        "level": predictor.level,
        "sites": known_sites(),
        "measured": predictor.measured,
        "takes": {
            "bytes": config.max_bytes,
            "images": config.most_images,
            "pixels": config.max_pixels,
            "formats": [*FORMATS, "DICOM"] if find_spec("pydicom") else list(FORMATS),
        },
        "card": card.read_text(encoding="utf-8") if card is not None and card.is_file() else None,
    }
