"""Exports that are kept only if they answer as the network does.

A file for an engine is written, opened by that engine, and shown the images that the run held out for
selection and calibration, never the test role's. Where there are none at hand, it is shown drawn lesions. It
is asked as `dermlens predict` asks, with all views and the model's decision, and so is the network.

An fp32 file must give the same probabilities but for rounding, and name the same classes. An int8 file gives
others; what counts is what it loses of recall, which `dermlens.export.int8` bounds over lesions.

Shapes: N images, C classes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from dermlens.data.synthetic.folder import write_synthetic
from dermlens.data.table import read_table
from dermlens.errors import UserError, nearest, require
from dermlens.export.engines import ENGINES
from dermlens.export.int8 import LARGEST_LOSS, answers_of, compare
from dermlens.export.onnx_export import as_network
from dermlens.files import copy_file, file_sha256, scratch_folder, write_json
from dermlens.models.saved import SavedModel, load_model
from dermlens.predict.document import read_document, write_document
from dermlens.predict.model_files import DOCUMENT_FILE
from dermlens.predict.network import ONNX_FILE, Network
from dermlens.runs import Run

Precision = Literal["fp32", "int8"]
EXPORT_FILE = "export.json"
LARGEST = 1e-4
"""Largest difference of a probability in fp32; engines add in different orders, which moves about 1e-6."""
AGREE = 0.999
"""Least share of images whose named class is the network's, in fp32."""
SHOWN = 128
"""Images that an fp32 file is compared on, spread over the held-out ones; int8 is judged on all."""
DRAWN = 24
"""Lesions that are drawn where there are no images."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What both networks look at.

    Attributes:
        table: a LesionTable.
        what: where the images come from, in words.
        root: folder of the pixel caches; none for the default place.
    """

    table: pd.DataFrame
    what: str
    root: Path | None


def export_verified(
    source: Path,
    folder: Path,
    engine: str,
    *,
    data: Path | None = None,
    cache_root: Path | None = None,
) -> dict[str, Any]:
    """Write a saved model for an engine, and keep the file if it agrees with the network.

    Args:
        source: a run directory, or any folder with a saved model.
        folder: to write to; what it holds of the same names is replaced. OpenVINO's are made from its
            model.onnx, where there is one, and are int8 where that is.
        engine: a row of `ENGINES`.
        data: where the run's images are now; none for where they were.
        cache_root: where pixel caches are; none takes the default place.

    Returns:
        What export.json says of the file: `format`, `precision`, `sha256` of each file, `images`, `limits`,
        `numbers`.

    Raises:
        UserError: no such engine, its extra is not installed, the model does not fit it, the images are not
            there, or the file does not agree; the folder is as it was then.
    """
    check_engine(engine)
    row = ENGINES[engine]
    saved = load_model(source, exports=False)
    precision = _precision(folder) if row.reads_onnx else "fp32"
    with (
        scratch_folder(folder, "export") as made,
        _held_out(source, data, cache_root, precision) as shown,
    ):
        if row.reads_onnx and (folder / ONNX_FILE).is_file():
            shutil.copyfile(folder / ONNX_FILE, made / ONNX_FILE)
        network = row.load(row.write(saved, made))
        found = {
            "format": engine,
            "precision": precision,
            "sha256": {name: file_sha256(made / name) for name in row.files},
            **verify(saved, network, shown, precision=precision, name=f"the {engine} file"),
        }
        for name in reversed(row.files):  # the one to open comes last
            copy_file(made / name, folder / name)
    write_json(folder / EXPORT_FILE, read_entries(folder) | {engine: found})
    if (folder / DOCUMENT_FILE).is_file():
        write_document(folder, read_document(folder / DOCUMENT_FILE))
    return found


def check_engine(name: str) -> None:
    """Make sure that files for an engine can be written. Raises: UserError."""
    if name not in ENGINES:
        raise UserError(f"engine '{name}' is not known{nearest(name, ENGINES)}")
    for module in ENGINES[name].modules:
        require(module, ENGINES[name].extra)


def verify(
    saved: SavedModel,
    network: Network,
    shown: Shown,
    *,
    precision: Precision = "fp32",
    name: str = "the file",
) -> dict[str, Any]:
    """Compare an engine with the network.

    Args:
        saved: the model that the file was made from.
        network: the file, opened.
        shown: the images.
        precision: by which limits.
        name: of the file, for the error.

    Returns:
        `images`, `limits` and `numbers`.

    Raises:
        UserError: it is beyond the limits.
    """
    (expected, before_N), (found, after_N) = (
        answers_of(saved, run, shown.table, shown.root) for run in (as_network(saved), network)
    )
    differences_N = np.abs(found.p_NC - expected.p_NC).max(axis=1)
    numbers: dict[str, Any] = {
        "images": len(shown.table),
        "largest_difference": float(differences_N.max()),
        "median_difference": float(np.median(differences_N)),
        "agreement": float(np.mean(found.diagnosis_N == expected.diagnosis_N)),
        "abstention_agreement": float(np.mean(found.uncertain_N == expected.uncertain_N)),
        "dermoscopy_agreement": float(np.mean(before_N == after_N)),
    }
    limits: dict[str, Any]
    if precision == "int8":
        target_N = np.array([saved.classes.index(code) for code in shown.table["dx"]], dtype=np.int64)
        lesion_N = shown.table["lesion_id"].to_numpy()
        verdict = compare(target_N, lesion_N, expected.diagnosis_N, found.diagnosis_N, saved.vocabulary)
        limits, why = {"may_lose": dict(LARGEST_LOSS)}, "" if verdict["accepted"] else verdict["why"]
        numbers["loss"] = verdict
    else:
        limits, why = {"largest_difference": LARGEST, "agreement": AGREE}, _too_far(numbers)
    if why:
        raise UserError(f"{name} is not written, since it does not answer as the network does: {why}")
    return {"images": shown.what, "limits": limits, "numbers": numbers}


def _precision(folder: Path) -> Precision:
    """Of the folder's model.onnx; fp32 where there is none."""
    if not (folder / DOCUMENT_FILE).is_file():
        return "fp32"
    onnx = read_document(folder / DOCUMENT_FILE).onnx
    return "fp32" if onnx is None else onnx.precision


def _too_far(numbers: dict[str, Any]) -> str:
    """Why an fp32 file is refused; empty where it is not. A difference that is no number is refused."""
    reasons = []
    if not numbers["largest_difference"] <= LARGEST:
        reasons.append(f"a probability differs by {numbers['largest_difference']:.2g}, more than {LARGEST:g}")
    if not numbers["dermoscopy_agreement"] >= AGREE:
        reasons.append(
            f"{100 * (1 - numbers['dermoscopy_agreement']):.1f} % of {numbers['images']} images are taken for"
            f" dermoscopy by one of the two alone, more than {100 * (1 - AGREE):.1f} %"
        )
    if not numbers["agreement"] >= AGREE:
        reasons.append(
            f"{100 * (1 - numbers['agreement']):.1f} % of {numbers['images']} images get another diagnosis,"
            f" more than {100 * (1 - AGREE):.1f} %"
        )
    return "; ".join(reasons)


@contextmanager
def _held_out(source: Path, data: Path | None, root: Path | None, precision: Precision) -> Iterator[Shown]:
    """The run's selection and calibration images, or else drawn lesions, which go when the block ends.

    Raises:
        UserError: images were named and are not the run's, or int8 is to be judged and there are none.
    """
    table = held_out_table(source, data, needed=data is not None or precision == "int8")
    if table is not None:
        if precision == "fp32" and len(table) > SHOWN:
            rows_N = np.linspace(0, len(table) - 1, SHOWN).astype(int)
            table = table.iloc[rows_N].reset_index(drop=True)
        yield Shown(table, "selection and calibration roles", root)
        return
    with tempfile.TemporaryDirectory() as scratch:
        drawn = read_table(write_synthetic(Path(scratch) / "set", lesions=DRAWN, size=(225, 300)))
        yield Shown(drawn, "drawn lesions", Path(scratch))


def held_out_table(source: Path, data: Path | None, *, needed: bool) -> pd.DataFrame | None:
    """The selection and calibration images of a run; none where it has none, or they are not at hand.

    Raises:
        UserError: they are needed, and are not there or not the run's.
    """
    run = Run(source)
    if not (run.record_file.is_file() and run.split_file.is_file()):
        if needed:
            raise UserError(f"{source} is no run: it has no split that says which images were held out")
        return None
    try:
        table = run.table(data)
        split = run.split(table)
    except UserError:
        if needed:
            raise
        return None
    ids = {image_id for role in ("selection", "calibration") for image_id in split.ids(role)}
    held = table[table["image_id"].isin(ids)].reset_index(drop=True)
    if held.empty and needed:
        raise UserError(f"run {run.path} has no selection or calibration role to judge an export on")
    return None if held.empty else held


def read_entries(folder: Path) -> dict[str, dict[str, Any]]:
    """What export.json says of each engine whose files are there; nothing where it cannot be read."""
    try:
        found = json.loads((folder / EXPORT_FILE).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return {
        name: entry
        for name, entry in (found if isinstance(found, dict) else {}).items()
        if name in ENGINES and all((folder / file).is_file() for file in ENGINES[name].files)
    }
