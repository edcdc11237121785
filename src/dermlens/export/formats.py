"""A folder that predicts, in as many formats as are wanted: every file verified, or nothing written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dermlens.export.engines import ENGINES
from dermlens.export.int8 import quantise_run
from dermlens.export.notices import CARD, LICENCE
from dermlens.export.onnx_export import export_folder
from dermlens.export.verification import (
    EXPORT_FILE,
    check_engine,
    export_verified,
    held_out_table,
    read_entries,
)
from dermlens.files import exclusive, scratch_folder, write_json
from dermlens.models.saved import WEIGHTS_FILE
from dermlens.predict.decision import DECISION_FILE
from dermlens.predict.document import ModelDocument, read_document, write_document
from dermlens.predict.model_files import DOCUMENT_FILE, MEASURED_FILE
from dermlens.runs import Run
from dermlens.targets import file_target

ONNX, INT8 = "onnx", "onnx-int8"
COMPANIONS = (WEIGHTS_FILE, DECISION_FILE, CARD, LICENCE, MEASURED_FILE, EXPORT_FILE)
"""What an export may write next to model.json and the files of engines."""


@dataclass(frozen=True, slots=True)
class Written:
    """The result of an export.

    Attributes:
        entries: what export.json says of ONNX and of each format that was asked for.
        refused: why there is no int8 file though one was asked for; empty where there is, or none was.
    """

    entries: dict[str, dict[str, Any]]
    refused: str

    def sentences(self) -> list[str]:
        """How near each file is to the network, a line each."""
        return [_compared(name, entry) for name, entry in self.entries.items()]


def export_formats(
    source: Path,
    folder: Path,
    formats: Collection[str],
    *,
    data: Path | None = None,
    cache_root: Path | None = None,
    limits: Sequence[str] = (),
) -> Written:
    """Make a folder that predicts without torch, and files for other engines in it.

    Everything is written and verified apart, and takes its place when all of it holds. Files for other
    engines that were there stay if they are of the same model, and go if they are of another.

    Args:
        source: a run directory, or any folder with a saved model.
        folder: to write to.
        formats: rows of `ENGINES`, and `onnx-int8`; ONNX is always written.
        data: where the run's images are now; none for where they were.
        cache_root: where pixel caches are; none takes the default place.
        limits: sentences to show with every answer; none takes those of the source.

    Raises:
        UserError: no such format, an extra is not installed, no saved model, the images are not there, or a
            file does not answer as the network does; the folder is as it was then.
    """
    engines = [ONNX, *sorted({*formats} - {ONNX, INT8})]
    for name in engines:
        check_engine(name)
    held_out_table(source, data, needed=data is not None or INT8 in formats)  # before what takes long
    with scratch_folder(folder, "export") as made:
        export_folder(source, made, data=data, limits=limits)
        refused = ""
        if INT8 in formats:
            document = quantise_run(Run.open(source), made, data=data, cache_root=cache_root)
            verdict = (document.onnx and document.onnx.quantisation) or {}
            refused = "" if verdict["accepted"] else verdict["why"]
        entries = {
            name: export_verified(source, made, name, data=data, cache_root=cache_root) for name in engines
        }
        with exclusive(folder / DOCUMENT_FILE):
            _take_place(made, folder)
    return Written(entries, refused)


def _compared(name: str, entry: dict[str, Any]) -> str:
    """How near a file is to the network."""
    numbers = entry["numbers"]
    sentence = (
        f"{name}, {entry['precision']}: on {numbers['images']} images ({entry['images']}) probabilities"
        f" differ by {numbers['largest_difference']:.1e} at most,"
        f" {100 * numbers['agreement']:.1f} % get the same diagnosis"
    )
    for recall, loss in numbers.get("loss", {}).items():
        if isinstance(loss, dict):
            sentence += (
                f"; {recall.replace('_', ' ')} falls by {100 * loss['lost']:.1f} points"
                f" [{100 * loss['lost_at_least']:.1f}, {100 * loss['lost_at_most']:.1f}]"
            )
    return sentence


def _take_place(made: Path, folder: Path) -> None:
    """Put new files in the place of old ones, the document last, and take away what is of another model."""
    kept = read_entries(folder) if _model(folder) == _model(made) else {}
    write_json(made / EXPORT_FILE, kept | read_entries(made))
    stale = {*COMPANIONS, *_files(ENGINES)} - {*_files(kept)} - {path.name for path in made.iterdir()}
    names = sorted((path.name for path in made.iterdir()), key=lambda name: name == DOCUMENT_FILE)
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    for name in names:
        (made / name).replace(file_target(folder / name))
    write_document(folder, read_document(folder / DOCUMENT_FILE))


def _files(engines: Collection[str]) -> list[str]:
    return [file for name in engines for file in ENGINES[name].files]


def _model(folder: Path) -> ModelDocument | None:
    """What a folder's files are of, whichever engine they are for; none where that is not known."""
    if not (folder / DOCUMENT_FILE).is_file():
        return None
    return read_document(folder / DOCUMENT_FILE).model_copy(update={"onnx": None, "manifest": None})
