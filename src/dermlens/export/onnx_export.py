"""A saved model as ONNX, checked against its network, and what every engine's file computes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dermlens.errors import UserError, require
from dermlens.export.notices import write_notices
from dermlens.files import atomic_path, copy_file, file_sha256
from dermlens.models.classifier import LesionClassifier, MapHead, evidence
from dermlens.models.saved import WEIGHTS_FILE, SavedModel, load_model
from dermlens.models.soft_attention import SoftAttention
from dermlens.predict.decision import DECISION_FILE
from dermlens.predict.decision_document import Scaling
from dermlens.predict.document import ModelDocument, OnnxFile, read_document, write_document
from dermlens.predict.model_files import DOCUMENT_FILE
from dermlens.predict.network import (
    ATTENTION,
    EVIDENCE,
    FEATURES,
    IMAGE,
    LOGITS,
    META,
    ONNX_FILE,
    PROBABILITIES,
    Network,
    OnnxNetwork,
)
from dermlens.predict.pictures.preprocessing import Numbers, Pixels, read_square
from dermlens.runs import Run

# The exported network takes what a decoder gives, uint8 pixels in rows, and normalises inside: no caller can
# get it wrong. Views and the decision stay outside, in `dermlens.predict.predictor`.
#
# Shapes: B batch, S side of the square, C classes in `logits_BC` and channels in `image_BSSC`, K heads,
# M metadata width, D features.


TOLERANCE = 1e-4
"""Largest difference of a logit; where the logits go beyond ±10, it grows with the largest."""
RANDOM_IMAGES, REAL_IMAGES = 3, 4


def export_folder(
    source: Path, folder: Path, *, data: Path | None = None, limits: Sequence[str] = ()
) -> ModelDocument:
    """Make a folder that predicts with and without torch: weights, ONNX file, decision, and their document.

    The card and the licence of a run go with them, as `write_notices` says. The two networks are compared on
    random pixels, and on some of the run's training images where they are at hand.

    Args:
        source: a run directory, or any folder with a saved model.
        folder: to write to; what it holds of the same names is replaced.
        data: where the run's images are now; none for where they were.
        limits: sentences to show with every answer; none takes those of the source.

    Returns:
        The document that was written.

    Raises:
        UserError: no saved model, an image cannot be read, the extra `export` is not installed, or as
            `export_onnx` says.
    """
    saved, before = load_model(source, exports=False), read_document(source / DOCUMENT_FILE)
    difference = export_onnx(saved, folder / ONNX_FILE, images=_training_images(source, data))
    onnx = OnnxFile(
        sha256=file_sha256(folder / ONNX_FILE),
        precision="fp32",
        largest_difference=difference,
        limits=tuple(limits) or (before.onnx.limits if before.onnx else ()),
    )
    document = before.model_copy(update={"onnx": onnx})
    if source.resolve() != folder.resolve():
        for name in (WEIGHTS_FILE, DECISION_FILE):
            if (source / name).is_file():
                copy_file(source / name, folder / name)
    write_document(folder, document)
    write_notices(source, folder)
    return write_document(folder, document)  # with the sums of the papers, whose card reads the document


def _training_images(source: Path, data: Path | None) -> list[Path]:
    """Some images of a run's training role; none where it is no run, or its data are not where they were."""
    run = Run(source)
    if not (run.record_file.is_file() and run.split_file.is_file()):
        return []
    try:
        table, split = run.table(data), run.split()
    except UserError:
        return []
    trained = table[table["image_id"].isin(split.ids("train"))]
    return [Path(path) for path in trained["path"].iloc[:: max(1, len(trained) // REAL_IMAGES)]][:REAL_IMAGES]


def export_onnx(saved: SavedModel, path: Path, *, images: Sequence[Path] = ()) -> float:
    """Write one ONNX file and compare it with the network.

    Inputs: `image`, uint8 (B, S, S, 3), and, for networks with a metadata branch, `meta`, float32 (B, M).
    Outputs: `logits` (B, C); `features` (B, D); `probabilities` (B, C), of this one view, in the model's
    own case mix; `evidence` (B, C, H, W), what each position adds to each logit at the own size, where the
    network has such a map; `attention` (B, K, H, W), where it has Soft-Attention. B is free; S is too
    where the model's views have other sizes, and is else the model's own.

    Args:
        saved: a loaded model.
        path: the file to write.
        images: real images to compare on, in addition to random pixels.

    Returns:
        The largest absolute difference of a logit, over all images and sizes.

    Raises:
        UserError: the extra `export` is not installed, an image cannot be read, or the network cannot take
            several sizes in one file.
        RuntimeError: the exported network is not the network.
    """
    onnx = require("onnx", "export")
    network = ExportedNetwork(saved).eval()
    inputs = tuple(network.sample(random_pixels(2, saved.size)))
    proto = onnx_graph(network, inputs, [IMAGE, META][: len(inputs)], network.outputs)
    if set(saved.views.sizes) - {saved.size}:
        _free_size(proto)
    with atomic_path(path) as part:
        part.write_bytes(proto.SerializeToString())
        onnx.checker.check_model(str(part))
        return _compare(network, OnnxNetwork(part.read_bytes(), str(path)), images)


def onnx_graph(
    network: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str], outputs: Sequence[str]
) -> Any:
    """A network as an ONNX ModelProto with all tensors inside, its batch size free.

    Args:
        network: in evaluation mode.
        inputs: an example of each.
        names: of the inputs.
        outputs: names of what it returns.

    Raises:
        UserError: the extra `export` is not installed.
    """
    require("onnx", "export")
    require("onnxscript", "export")
    with warnings.catch_warnings():
        # what torch says here is for its own authors, and that two inputs share their free axis
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", message="# The axis name")
        program: Any = torch.onnx.export(
            network,
            inputs,
            dynamo=True,
            dynamic_shapes=tuple({0: torch.export.Dim("batch")} for _ in inputs),
            input_names=list(names),
            output_names=list(outputs),
            external_data=False,
            verbose=False,
        )
    proto = program.model_proto
    graph = proto.graph
    # torch's stack traces of each node's making name the folders of one machine
    for made in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del made.metadata_props[:]
    return proto


class ExportedNetwork(nn.Module):
    """The classifier from bytes to all that an answer needs, without what a file of one size would fix.

    Attributes:
        outputs: the names of what it returns.
    """

    def __init__(self, saved: SavedModel) -> None:
        super().__init__()
        self.saved = saved
        self.scaling = saved.decision.scaling if saved.decision is not None else Scaling()
        self.prior = saved.decision.prior if saved.decision is not None else None
        self.classifier: LesionClassifier = copy.deepcopy(saved.model).cpu()
        attention = getattr(self.classifier.head, "attention", None)
        if attention is not None:
            self.classifier.head.attention = _SizelessAttention(attention)
        head = self.classifier.head
        self.has_evidence = isinstance(head, MapHead) and head.tail is None
        self.outputs = (
            LOGITS,
            FEATURES,
            PROBABILITIES,
            *([EVIDENCE] if self.has_evidence else []),
            *([ATTENTION] if attention is not None else []),
        )

    def forward(self, image_BSSC: Tensor, meta_BM: Tensor | None = None) -> tuple[Tensor, ...]:
        logits_BC, found = self.classifier(image_BSSC.permute(0, 3, 1, 2), meta_BM)
        given = [logits_BC, found["features_BD"], self._probabilities(logits_BC)]
        if self.has_evidence:
            given.append(evidence(self.classifier.head, found["last_BCHW"]))
        if "alpha_BKHW" in found:
            given.append(found["alpha_BKHW"])
        return tuple(given)

    def _probabilities(self, logits_BC: Tensor) -> Tensor:
        """As `dermlens.predict.decision.scaled`."""
        scores_BC = logits_BC / self.scaling.temperature
        if self.scaling.scale is not None:
            scores_BC = scores_BC * torch.tensor(self.scaling.scale)
        if self.scaling.bias is not None:
            scores_BC = scores_BC + torch.tensor(self.scaling.bias)
        if self.prior is not None:
            scores_BC = scores_BC + torch.log(torch.tensor(self.prior.shares))
        return scores_BC.softmax(dim=1)

    def sample(self, image_BSSC: np.ndarray) -> list[Tensor]:
        """Inputs with metadata of many kinds of patient, where the network has a branch for them."""
        image = torch.from_numpy(image_BSSC)
        if self.saved.config.metadata == "none":
            return [image]
        rng, count = np.random.default_rng(len(image)), len(image)
        meta_BM = self.saved.encoder.encode(
            rng.uniform(0, 90, count),
            rng.choice(["female", "male", ""], count),
            ["back", *[""] * (count - 1)],
        )
        return [image, torch.from_numpy(meta_BM)]


class _SizelessAttention(nn.Module):
    """Soft-Attention with its softmax over two axes written out: no shape of the map enters the file."""

    def __init__(self, attention: SoftAttention) -> None:
        super().__init__()
        self.kernel, self.gamma = attention.kernel, attention.gamma

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        pre_BKHW = torch.relu(self.kernel(x_BCHW))
        weight_BKHW = (pre_BKHW - pre_BKHW.amax(dim=(2, 3), keepdim=True)).exp()
        alpha_BKHW = weight_BKHW / weight_BKHW.sum(dim=(2, 3), keepdim=True)
        attended_BCHW = x_BCHW * alpha_BKHW.sum(dim=1, keepdim=True)
        return attended_BCHW if self.gamma is None else self.gamma * attended_BCHW, alpha_BKHW


def _free_size(proto: Any) -> None:
    """Let the side of the square vary.

    What remains of the sample's size is padding, which is the same for sizes of the same remainders; the
    comparison tells. torch's own free sizes take minutes to export, with every padding a formula.
    """
    for axis in (1, 2):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "side"
    del proto.graph.value_info[:]


def _compare(network: ExportedNetwork, exported: OnnxNetwork, images: Sequence[Path]) -> float:
    """The largest difference of a logit over random and real images, at every size of the views."""
    saved = network.saved
    if saved.dermoscopy is not None:
        saved.dermoscopy.check(exported.features)
    largest = 0.0
    for size in sorted({saved.size, *saved.views.sizes}):
        squares = [read_square(image, size, saved.crop, saved.colour_constancy)[None] for image in images]
        for pixels in (
            random_pixels(1, size),
            np.concatenate([random_pixels(RANDOM_IMAGES, size), *squares]),
        ):
            inputs = network.sample(pixels)
            with torch.inference_mode():
                expected = dict(zip(network.outputs, (one.numpy() for one in network(*inputs)), strict=True))
            try:
                found = exported.run(pixels, inputs[1].numpy() if len(inputs) == 2 else None, network.outputs)
            except UserError:
                if size == saved.size:
                    raise
                found = {name: np.full_like(one, np.inf) for name, one in expected.items()}
            if size == saved.size:
                _compare_maps(expected, found)
            difference = float(np.abs(found[LOGITS] - expected[LOGITS]).max())
            if not difference <= TOLERANCE * max(1.0, float(np.abs(expected[LOGITS]).max()) / 10):
                if size != saved.size:
                    raise UserError(
                        f"{saved.config.backbone} treats {saved.size} and {size} pixels differently, in its"
                        " padding: one ONNX file cannot hold both; views whose sizes differ by multiples of"
                        " 32 fit most networks"
                    )
                raise RuntimeError(f"the exported network's logits are off by {difference:.2g}")
            largest = max(largest, difference)
    return largest


def _compare_maps(expected: Mapping[str, Numbers], found: Mapping[str, Numbers]) -> None:
    """What explains an answer, and what tells dermoscopy, must be the network's too. Raises: RuntimeError."""
    for name in (PROBABILITIES, FEATURES, EVIDENCE, ATTENTION):
        if name in expected:
            scale = max(1.0, float(np.abs(expected[name]).max()))
            off = float(np.abs(found[name] - expected[name]).max())
            if not off <= TOLERANCE * scale:
                raise RuntimeError(f"the exported network's {name} are off by {off:.2g}")


def random_pixels(count: int, size: int) -> np.ndarray:
    """Noise and gradients: noise alone all looks alike to a network."""
    rng = np.random.default_rng(size)
    x_BSSC = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    x_BSSC[1::2] = np.linspace(0, 255, size, dtype=np.uint8)[:, None, None] // rng.integers(1, 4, 3)
    return x_BSSC


# What every engine's file computes: from pixels as a decoder gives them to calibrated probabilities.
#
# Shapes: B images, S side of the square, C classes, M metadata width, D features.


GIVEN = (LOGITS, FEATURES, PROBABILITIES)


class Wrapped(nn.Module):
    """The network that `model.onnx` holds, its first three outputs by name.

    Args:
        saved: a loaded model.
    """

    def __init__(self, saved: SavedModel) -> None:
        super().__init__()
        self.exported = ExportedNetwork(saved)
        self.eval()

    def forward(self, image: Tensor, meta: Tensor | None = None) -> dict[str, Tensor]:
        """Logits, features and probabilities of `image` (B, S, S, 3), uint8, and `meta` (B, M)."""
        return dict(zip(GIVEN, self.exported(image, meta), strict=False))

    def sample(self, count: int) -> dict[str, Tensor]:
        """Inputs by name, of so many images."""
        size = self.exported.saved.size
        rng = np.random.default_rng(0)
        pixels_BSSC = rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        return dict(zip((IMAGE, META), self.exported.sample(pixels_BSSC), strict=False))


def one_size(saved: SavedModel, format_name: str) -> None:
    """Refuse a model that looks at images at several sizes. Raises: UserError."""
    if set(saved.views.sizes) - {saved.size}:
        raise UserError(
            f"a {format_name} file takes images of one size, and this model's views have"
            f" {', '.join(map(str, sorted({saved.size, *saved.views.sizes})))} pixels; ONNX and OpenVINO"
            " files take several"
        )


def as_network(saved: SavedModel) -> Network:
    """The network itself, with torch, as what an engine's file is compared with."""

    def run(x_BSSC: Pixels, meta_BM: npt.NDArray[np.float32] | None) -> tuple[Numbers, Numbers]:
        with torch.inference_mode():
            logits_BC, found = saved.model(
                torch.from_numpy(x_BSSC).permute(0, 3, 1, 2),
                None if meta_BM is None else torch.from_numpy(meta_BM),
            )
        return logits_BC.numpy(), found["features_BD"].numpy()

    return run
