"""The files of a model's folder: their manifest, and what was measured of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from dermlens.errors import UserError
from dermlens.files import file_sha256, read_json, write_json

# The manifest of a model folder: SHA-256 of every file of it, kept in model.json itself. Free of torch.
#
# One file holds both, so that no moment of writing leaves a model whose parts disagree. The sum of model.json
# is of all it says apart from the manifest: classes that were swapped, or an encoder that was edited, are
# refused when it is read, and the model's id is made of that sum.


DOCUMENT_FILE = "model.json"
KEY = "manifest"
FILES = (
    "model.onnx",
    "model.safetensors",
    "decision.npz",
    "measured.json",
    "MODEL_CARD.md",
    "LICENSE",
    "export.json",
    "model.xml",
    "model.bin",
    "model.tflite",
    "model.pt2",
)
"""Whatever of these a folder holds is its model's."""


def sealed(folder: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a model.json with its manifest, of the files that are in the folder now."""
    rest = {name: value for name, value in content.items() if name != KEY}
    # by their names as they are: on some file systems a run's model_card.md answers to MODEL_CARD.md too
    present = {path.name for path in folder.iterdir() if path.is_file()}
    sums = {name: file_sha256(folder / name) for name in FILES if name in present}
    return rest | {KEY: {DOCUMENT_FILE: content_sha256(rest)} | sums}


def content_sha256(content: Mapping[str, Any]) -> str:
    """SHA-256 of what a model.json says apart from its manifest, however it is laid out."""
    rest = {name: value for name, value in content.items() if name != KEY}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check_content(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse a model.json that was edited since it was written; those of dermlens 0.1.0 have no manifest.

    Args:
        path: for errors.
        content: of the file.

    Raises:
        UserError: its sum is another.
    """
    manifest = content.get(KEY)
    if isinstance(manifest, dict) and manifest.get(DOCUMENT_FILE) != content_sha256(content):
        raise UserError(
            f"{path} was changed since it was written: what it says of classes, encoder or decision is not"
            " the model's; export the model again"
        )


def checked_bytes(path: Path, sha256: str, document: str = DOCUMENT_FILE) -> bytes:
    """The content of a file whose check sum stands in a document next to it.

    Raises:
        UserError: it is another file.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{path} is not the file that {document} next to it was written for")
    return content


def check_file(folder: Path, name: str, manifest: Mapping[str, str] | None) -> None:
    """Refuse a file of a model folder that is another than the manifest names. Raises: UserError."""
    path = folder / name
    wanted = (manifest or {}).get(name)
    if wanted is not None and path.is_file() and file_sha256(path) != wanted:
        raise UserError(f"{path} is not the file that {DOCUMENT_FILE} next to it was written for")


def check_folder(folder: Path, manifest: Mapping[str, str] | None, but: Container[str] = ()) -> None:
    """Refuse a model folder that lacks a file of its manifest, or has another: card and licence count too.

    It costs what reading all files does, 10 ms for the shipped model's 18 MB on a free machine.

    Args:
        folder: of the model.
        manifest: in its model.json; none in what 0.1.0 wrote, where nothing can be compared.
        but: files that are about to be made anew.

    Raises:
        UserError: a file is another, or is gone.
    """
    for name in manifest or {}:
        if name != DOCUMENT_FILE and name not in but:
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder / name} is gone, and {DOCUMENT_FILE} lists it: export the model again"
                )
            check_file(folder, name, manifest)


# measured.json next to a model: what was measured of it, for programs and pages to show. Free of pandas.
#
# It holds what the card says in words and tables, of the same metrics.json: recall of each class with
# interval and number of images, three scores, how many images each group of patients has, and what the data
# lack.


MEASURED_FILE = "measured.json"
SCORES = {"mean recall": "balanced_accuracy_isic", "accuracy": "accuracy", "calibration error": "ece"}


def write_measured(
    scores: Mapping[str, Any], role: str, lacks: Sequence[str], folder: Path, *, looks: Mapping[str, Any]
) -> Path:
    """Write what a page shows of a model's limits.

    Args:
        scores: of a role, as an evaluated run's metrics.json has them.
        role: its name: the test role where it was opened.
        lacks: sentences on what the data cannot show.
        folder: of the model.
        looks: at the test role, as `Openings.to_json` gives them.
    """
    found = {
        "role": role,
        "test_openings": dict(looks),
        "images": scores["images"],
        "lesions": scores["lesions"],
        "scores": {name: _estimate(scores["overall"][key]) for name, key in SCORES.items()},
        "recall": {
            code: {"images": one["support"]} | _estimate(one["recall"])
            for code, one in scores["per_class"].items()
        },
        "groups": {
            field: {group: one["images"] for group, one in groups.items()}
            for field, groups in scores["subgroups"].items()
        },
        "lacks": list(lacks),
    }
    write_json(folder / MEASURED_FILE, found)
    return folder / MEASURED_FILE


def read_measured(folder: Path) -> dict[str, Any] | None:
    """What was measured of a model; none where nobody wrote it down. Raises: UserError when it is damaged."""
    path = folder / MEASURED_FILE
    return read_json(path) if path.is_file() else None


def _estimate(one: Mapping[str, Any]) -> dict[str, Any]:
    return {key: one[key] for key in ("value", "low", "high")}
