"""From fp32 to int8, where the loss is known to be small: a table's answers compared, paired over lesions.

Shapes: N images, S side of the square, C classes, D features, M metadata width, `...` the leading axes of
the weights.
"""

from __future__ import annotations

import hashlib
import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermlens.data.cache import PixelCache, open_cache
from dermlens.errors import UserError, require
from dermlens.evaluation.intervals import Numbers as Statistics
from dermlens.evaluation.intervals import draw_lesions, estimate
from dermlens.export.notices import write_notices
from dermlens.files import atomic_path
from dermlens.labels import Vocabulary
from dermlens.metrics import Bools, Floats, Ints, macro, one_vs_rest
from dermlens.models.saved import SavedModel, load_model
from dermlens.predict.decision import Answers, answer
from dermlens.predict.decision_document import plain_decision
from dermlens.predict.document import ModelDocument, is_dermoscopy, read_document, write_document
from dermlens.predict.metadata import encoder_from_json
from dermlens.predict.model_files import DOCUMENT_FILE
from dermlens.predict.network import IMAGE, META, ONNX_FILE, Network, OnnxNetwork, onnx_runtime
from dermlens.runs import Run
from dermlens.training.predict import view_batches

BATCH = 16


def answers_of(
    saved: SavedModel, network: Network, table: pd.DataFrame, root: Path | None
) -> tuple[Answers, Bools]:
    """Answers of a network by the views and the decision of a model.

    Args:
        saved: the model.
        network: its own, or a file made from it.
        table: a LesionTable.
        root: folder of the pixel caches; none for the default place.

    Returns:
        The answers, and which images do not look like dermoscopy, none of them where the model cannot tell.
    """
    caches = {
        size: open_cache(
            table, size=size, crop=saved.crop, colour_constancy=saved.colour_constancy, root=root
        )
        for size in sorted({saved.size, *saved.views.sizes})
    }
    outputs = view_batches(saved, table, caches, network, batch_size=BATCH)
    logits_NC, features_ND = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    looks = saved.dermoscopy
    alien_N = np.zeros(len(table), dtype=bool) if looks is None else ~is_dermoscopy(looks.scores(features_ND))
    decision = saved.decision or plain_decision(saved.classes)
    return answer(logits_NC, features_ND, decision, saved.arrays), alien_N


# Whether a smaller network may take the place of its original: paired, over lesions.
#
# Both networks decide the same images, so a resample of lesions is scored for both and the differences are
# what varies: far less than either score does.


LARGEST_LOSS = {"mean_recall": 0.01, "sought_recall": 0.02}
"""The most that recall may fall; the bound must hold with 95 % confidence, not the value alone."""
FEWEST = {"sought": 50, "other": 5}
"""Lesions of a class below which a bootstrap that finds no loss says nothing."""
ONE_SIDED = 0.90
"""Level of the two-sided interval whose upper end is the 95 % bound."""
REPLICATES = 2000


def compare(
    target_N: Ints,
    lesion_N: NDArray[Any],
    before_N: Ints,
    after_N: Ints,
    vocabulary: Vocabulary,
    *,
    replicates: int = REPLICATES,
) -> dict[str, Any]:
    """Measure what is lost, and say whether it may be.

    Args:
        target_N: class indices.
        lesion_N: any names of lesions.
        before_N: classes that the original names.
        after_N: those of the smaller network's.
        vocabulary: their codes, and which of them are sought: `mel`, or the malignant own classes. Without
            any only the mean recall counts.
        replicates: resamples of lesions.

    Returns:
        `accepted`; `why`, a sentence; `images`, `lesions`, `changed` (share of images that are named
        otherwise); and for mean recall and the recall of what is sought `before`, `after`, `lost`, and
        `lost_at_least` and `lost_at_most`, the 90 % interval of the loss, whose upper end is the bound.
    """
    classes = vocabulary.classes
    watched = ["mean_recall", *(f"{code}_recall" for code in vocabulary.sought)]

    def recalls(named_N: Ints, weights: Floats | None) -> dict[str, Floats]:
        counts = one_vs_rest(target_N, named_N, len(classes), weights)
        by_class = {f"{code}_recall": counts.recall[..., index] for index, code in enumerate(classes)}
        return {"mean_recall": macro(counts.recall, counts.support)} | by_class

    def lost(weights: Floats | None) -> Statistics:
        before, after = recalls(before_N, weights), recalls(after_N, weights)
        return {(name,): before[name] - after[name] for name in watched}

    resamples = draw_lesions(lesion_N, target_N, replicates=replicates, seed=0)
    losses = estimate(lost, resamples, level=ONE_SIDED)
    before, after = recalls(before_N, None), recalls(after_N, None)
    found: dict[str, Any] = {}
    for name in watched:
        value, low, high = (losses[(name,)][key] for key in ("value", "low", "high"))
        if value is None:
            continue  # no image of the class
        found[name] = {
            "before": float(before[name]),
            "after": float(after[name]),
            "lost": value,
            "lost_at_least": value if low is None else low,
            "lost_at_most": value if high is None else high,
            "may_lose": LARGEST_LOSS["mean_recall" if name == "mean_recall" else "sought_recall"],
        }
    too_much = [
        f"{name.replace('_', ' ')} may fall by {100 * numbers['lost_at_most']:.1f} points"
        f" (measured {100 * numbers['lost']:.1f}), more than {100 * numbers['may_lose']:.0f}"
        for name, numbers in found.items()
        if not numbers["lost_at_most"] <= numbers["may_lose"]
    ]
    lesions_C = [len(np.unique(lesion_N[target_N == index])) for index in range(len(classes))]
    for code, count in zip(classes, lesions_C, strict=True):
        fewest = FEWEST["sought" if code in vocabulary.sought else "other"]
        if 0 < count < fewest:
            too_much.append(f"{count} lesions of {code} cannot show what is lost; {fewest} could")
    if lacking := [name for name in watched if name not in found]:
        too_much.append(f"no image to measure {lacking[0].replace('_', ' ')} on")
    return {
        "accepted": not too_much,
        "why": "; ".join(too_much) or "the loss is within bounds with 95 % confidence",
        "images": len(target_N),
        "lesions": len(np.unique(lesion_N)),
        "melanoma_lesions": lesions_C[list(classes).index("mel")] if "mel" in classes else None,
        "changed": float(np.mean(before_N != after_N)),
        **found,
    }


# Convolutions become int8, nearly all of a mobile network's weights: a scale for each output channel, and an
# 8-bit range for activations, seen on training images. The first convolution and the depthwise ones, few
# weights and the most sensitive, stay as they are. Weights and activations are both unsigned: sums of signed
# by unsigned products overflow on processors without VNNI, and the answer would depend on the machine (ONNX
# Runtime, "Quantize ONNX models"; measured on AVX2, MobileNetV2 lost 43 points of mean recall by it).


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
    table = run.table(data)
    split = run.split(table)

    def of(*roles: str) -> pd.DataFrame:
        ids = [image_id for role in roles for image_id in split.ids(role)]
        return table[table["image_id"].isin(ids)].reset_index(drop=True)

    judged = of("selection", "calibration")
    if judged.empty:
        raise UserError(f"run {run.path} has no selection or calibration role to judge an int8 network on")
    document = quantise(folder, ranges=of("train"), judged=judged, cache_root=cache_root)
    write_notices(run.path, folder)  # whose sizes have changed
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
        "abstained_before": float(named.uncertain_N.mean()),
        "abstained_after": float(named_after.uncertain_N.mean()),
        "no_dermoscopy_before": float(alien_N.mean()),
        "no_dermoscopy_after": float(alien_after_N.mean()),
        "bytes_before": len(before),
        "bytes_after": len(after),
    }
    changes: dict[str, Any] = {"quantisation": verdict}
    if verdict["accepted"]:
        with atomic_path(path) as part:
            part.write_bytes(after)
        changes |= {"precision": "int8", "sha256": hashlib.sha256(after).hexdigest()}
    document = document.model_copy(update={"onnx": document.onnx.model_copy(update=changes)})
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
    cache = open_cache(
        table, size=document.size, crop=document.crop, colour_constancy=document.colour_constancy, root=root
    )
    encoder = encoder_from_json(document.encoder)
    meta_NM = encoder.encode(table["age"], table["sex"].tolist(), table["site"].tolist())
    with tempfile.TemporaryDirectory() as scratch:
        given, prepared, made = (Path(scratch) / f"{name}.onnx" for name in ("given", "prepared", "made"))
        given.write_bytes(content)
        preparation.quant_pre_process(str(given), str(prepared), skip_symbolic_shape=True)
        tools.quantize_static(
            str(prepared),
            str(made),
            _Ranges(cache, meta_NM),
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
