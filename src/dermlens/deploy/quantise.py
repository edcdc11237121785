"""From fp32 to int8, where the loss is known to be small.

Convolutions become int8, nearly all of a mobile network's weights: a scale for each output channel, and an
8-bit range for activations, seen on training images. The first convolution and the depthwise ones, few
weights and the most sensitive, stay as they are. Weights and activations are both unsigned: sums of signed by
unsigned products overflow on processors without VNNI, and the answer would depend on the machine (ONNX
Runtime, "Quantize ONNX models"; measured on AVX2, MobileNetV2 lost 43 points of mean recall by it).

Shapes: N images, S side of the square, C classes, D features, M metadata width.
"""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.atomic import atomic_path
from dermlens.data.cache import PixelCache, open_cache
from dermlens.data.metadata import encoder_from_json
from dermlens.data.split import load_manifest
from dermlens.data.table import read_configured
from dermlens.deploy.gate import compare
from dermlens.deploy.network import IMAGE, META, ONNX_FILE, OnnxNetwork
from dermlens.deploy.onnx_runtime import onnx_runtime
from dermlens.deploy.papers import write_papers
from dermlens.deploy.table_answers import answers_of
from dermlens.errors import UserError, require
from dermlens.models.document import ModelDocument, read_document, write_document
from dermlens.models.manifest import DOCUMENT_FILE
from dermlens.models.saved import load_model
from dermlens.runs import Run

SEEN = 256
"""Training images whose activations set the ranges."""


def quantise_run(
    run: Run, folder: Path, *, data: Path | None = None, cache_root: Path | None = None
) -> ModelDocument:
    """Quantise the export of a run: ranges from its training role, judged on its selection and calibration.

    Args:
        run: that was exported.
        folder: its export.
        data: where the run's images are now; none for where they were.
        cache_root: where pixel caches are; none takes the default place.

    Raises:
        UserError: the images are not there or not the run's, or as for `quantise`.
    """
    source = data or Path(run.read_record().get("data") or "")
    if source == Path() or not source.exists():
        raise UserError(f"run {run.path} was trained on {source}, which is not there: name it with --data")
    table = read_configured(source, run.recipe().data)
    split = load_manifest(str(run.split_file), table, remedy="name the run's own data by --data")

    def of(*roles: str) -> pd.DataFrame:
        ids = [image_id for role in roles for image_id in split.ids(role)]
        return table[table["image_id"].isin(ids)].reset_index(drop=True)

    judged = of("selection", "calibration")
    if judged.empty:
        raise UserError(f"run {run.path} has no selection or calibration role to judge an int8 network on")
    document = quantise(folder, ranges=of("train"), judged=judged, cache_root=cache_root)
    write_papers(run.path, folder)  # whose sizes have changed
    return document


def quantise(
    folder: Path, *, ranges: pd.DataFrame, judged: pd.DataFrame, cache_root: Path | None = None
) -> ModelDocument:
    """Put an int8 network in the place of an exported fp32 one, if the gate lets it.

    Args:
        folder: as `export_folder` wrote it.
        ranges: LesionTable of training images; `SEEN` of them, as many of each class as there are, set the
            activations' ranges.
        judged: LesionTable of images that were not trained on, for the gate.
        cache_root: where pixel caches are; none takes the default place.

    Returns:
        The document, which says what was found. Where the gate refused, model.onnx is the fp32 file still.

    Raises:
        UserError: the folder has no fp32 ONNX file, an image cannot be read, or the extra `export` is not
            installed.
    """
    require("onnx", "export")
    path, document = folder / ONNX_FILE, read_document(folder / DOCUMENT_FILE)
    if document.onnx is None or document.onnx.precision != "fp32":
        raise UserError(f"{folder} has no fp32 {ONNX_FILE} to quantise; `dermlens export` makes one")
    before, saved = path.read_bytes(), load_model(folder)
    drawn = _stratified(ranges, SEEN)
    after = _int8(before, document, drawn, cache_root)
    (named, alien_N), (named_after, alien_after_N) = [
        answers_of(saved, OnnxNetwork(content, str(path)), judged, cache_root) for content in (before, after)
    ]
    verdict = compare(
        np.array([document.classes.index(code) for code in judged["dx"]], dtype=np.int64),
        judged["lesion_id"].to_numpy(),
        named.diagnosis_N,
        named_after.diagnosis_N,
        document.vocabulary,
    )
    verdict |= {
        "largest_difference": float(np.abs(named.p_NC - named_after.p_NC).max()),
        "abstained_before": float(named.abstain_N.mean()),
        "abstained_after": float(named_after.abstain_N.mean()),
        "no_dermoscopy_before": float(alien_N.mean()),
        "no_dermoscopy_after": float(alien_after_N.mean()),
        "bytes_before": len(before),
        "bytes_after": len(after),
    }
    said: dict[str, Any] = {"quantisation": verdict}
    if verdict["accepted"]:
        with atomic_path(path) as part:
            part.write_bytes(after)
        said |= {"precision": "int8", "sha256": hashlib.sha256(after).hexdigest()}
    document = document.model_copy(update={"onnx": document.onnx.model_copy(update=said)})
    return write_document(folder, document)


def _stratified(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """So many rows, drawn in turn from each class until it has no more: as even as the classes allow."""
    shuffled = table.sample(frac=1, random_state=0)
    turn = shuffled.groupby("dx").cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")[:count]].reset_index(drop=True)


def _int8(content: bytes, document: ModelDocument, table: pd.DataFrame, root: Path | None) -> bytes:
    """The quantised file."""
    tools = onnx_runtime("quantization")
    preparation = onnx_runtime("quantization.shape_inference")
    cache = _cache(document, table, document.size, root)
    with tempfile.TemporaryDirectory() as scratch:
        given, prepared, made = (Path(scratch) / f"{name}.onnx" for name in ("given", "prepared", "made"))
        given.write_bytes(content)
        preparation.quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        tools.quantize_static(
            str(prepared),
            str(made),
            _Ranges(cache, _metadata(document, table)),
            op_types_to_quantize=["Conv", "Clip", "Relu"],  # the last two end in the range of their input
            nodes_to_exclude=_sensitive(prepared),
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QUInt8,
        )
        return made.read_bytes()


def _sensitive(path: Path) -> list[str]:
    """Names of the first convolution and of those that see one channel each."""
    nodes = importlib.import_module("onnx").load(str(path)).graph.node
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    depthwise = [
        node for node in convolutions if any(one.name == "group" and one.i > 1 for one in node.attribute)
    ]
    return [node.name for node in (*convolutions[:1], *depthwise)]


class _Ranges:
    """The images whose activations are looked at, one by one, as ONNX Runtime's calibration asks for them."""

    def __init__(self, cache: PixelCache, meta_NM: np.ndarray) -> None:
        self._cache, self._meta_NM, self._next = cache, meta_NM, 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        if self._next == len(self._cache.index):
            return None
        row = np.array([self._next])
        self._next += 1
        feed = {IMAGE: self._cache.take(row)}
        return feed | ({META: self._meta_NM[row]} if self._meta_NM.shape[1] else {})


def _cache(document: ModelDocument, table: pd.DataFrame, size: int, root: Path | None) -> PixelCache:
    return open_cache(
        table, size=size, crop=document.crop, colour_constancy=document.colour_constancy, root=root
    )


def _metadata(document: ModelDocument, table: pd.DataFrame) -> np.ndarray:
    encoder = encoder_from_json(document.encoder)
    return encoder.encode(table["age"], table["sex"].tolist(), table["site"].tolist())
