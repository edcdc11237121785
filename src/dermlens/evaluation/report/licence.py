"""The licence file that stands beside weights that were trained on HAM10000."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from dermlens.data.sources import HAM10000
from dermlens.decision.dermoscopy import Dermoscopy
from dermlens.evaluation.dermoscopy import OWN
from dermlens.models.config import ModelConfig
from dermlens.models.pretrained.registry import HUB, PACKAGES

LEGAL_CODE = "legalcode"


def licence_text(model: ModelConfig, record: dict[str, Any], boundary: Dermoscopy | None = None) -> str:
    """The terms of the weights, whom to credit, and where training began.

    Args:
        model: of the recipe.
        record: run.json, which says what else was trained on.
        boundary: what tells dermoscopy, where the model has that.
    """
    licence = HAM10000.licence
    images = (
        f"{HAM10000.citation[0]}. Images: ViDIR Group, Department of Dermatology, Medical University of"
        f" Vienna, doi:10.7910/DVN/DBW86T, {licence.name}."
    )
    parts = [
        _filled(
            "The files in this folder are the weights of a trained model and what belongs to them: its"
            " description, its calibration and its card. They are licensed under"
        ),
        "    Creative Commons Attribution-NonCommercial 4.0 International (CC BY-NC 4.0)\n"
        f"    {licence.address}{LEGAL_CODE}",
        _filled(
            "because the images that the model was trained on are. The code of dermlens is licensed under"
            " Apache-2.0, which does not extend to this folder."
        ),
        "Give credit to",
        _filled("the dermlens developers, for the model;", indent="    ")
        + "\n"
        + _filled(images, indent="    ")
        + _also(record)
        + _shown(boundary),
        _start(model),
        "The model comes without any warranty. It is research software and not a medical device.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _also(record: dict[str, Any]) -> str:
    """The owners of other data sets: of `data.folders` whose sources trained, and of `data.also_train`."""
    trained = record.get("sources") or {}
    owed = {folder: trained[folder] for folder in record.get("folders") or () if folder in trained}
    also = record.get("also_train") or {}
    if also.get("images"):
        owed[", ".join(Path(folder).name for folder in also["folders"])] = also["images"]
    return "".join(
        "\n"
        + _filled(
            f"the owners of {names}, whose {images:,} images it was trained on as well, on their terms.",
            indent="    ",
        )
        for names, images in owed.items()
    )


def _shown(boundary: Dermoscopy | None) -> str:
    """Whose pictures taught the model what dermoscopy is, but for the run's own."""
    if boundary is None:
        return ""
    sets = {name: count for name, count in (boundary.dermoscopic | boundary.other).items() if name != OWN}
    names = ", ".join(f"{name} ({count:,} pictures)" for name, count in sets.items())
    return "\n" + _filled(
        f"the owners of {names}, which taught it what dermoscopy is, on their terms.", indent="    "
    )


def _start(model: ModelConfig) -> str:
    """Where the ImageNet weights come from; nothing for random ones."""
    began = "The ImageNet weights from which training began come from"
    if model.weights == "package":
        package = PACKAGES[model.backbone]
        return _filled(f"{began} {package.distribution} {package.version} ({package.licence}).")
    if model.weights == "hub":
        hub = HUB[model.backbone]
        return _filled(f"{began} timm's {hub.model} ({hub.licence}).")
    if model.weights == "none":
        return ""
    return _filled(f"{began} the file {Path(model.weights).name}, whose licence its owner states.")


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text,
        width=115,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
