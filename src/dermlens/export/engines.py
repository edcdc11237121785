"""Files of a saved model for several engines, a row each.

Shapes: B images, S side of the square, C classes, M metadata width, D features.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dermlens.errors import UserError
from dermlens.export import edge
from dermlens.export.onnx_export import Wrapped, export_onnx, one_size
from dermlens.files import atomic_path
from dermlens.models.saved import SavedModel
from dermlens.predict.network import FEATURES, IMAGE, LOGITS, META, ONNX_FILE, Network, OnnxNetwork
from dermlens.predict.pictures.preprocessing import Numbers, Pixels

# ONNX, for ONNX Runtime: what `dermlens predict` runs.


def write_onnx(saved: SavedModel, folder: Path) -> Path:
    """Write model.onnx, unless it is there; as `export_onnx`."""
    if not (folder / ONNX_FILE).is_file():
        export_onnx(saved, folder / ONNX_FILE)
    return folder / ONNX_FILE


def load_onnx(path: Path) -> Network:
    """Open it. Raises: UserError when it is no ONNX network of ours."""
    return OnnxNetwork(path.read_bytes(), str(path))


# PyTorch's own exported program, `.pt2`: for programs in torch that shall not need dermlens.


TORCH_FILE = "model.pt2"


def write_torch(saved: SavedModel, folder: Path) -> Path:
    """Write model.pt2: `image`, uint8 (B, S, S, 3), and `meta`, float32 (B, M), to a dictionary; B is free.

    Raises:
        UserError: the model's views have several sizes.
    """
    one_size(saved, "torch.export")
    network = Wrapped(saved)
    inputs = network.sample(2)
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # torch's words to its own authors
        warnings.filterwarnings("ignore", category=FutureWarning)
        program = torch.export.export(
            network, (), inputs, dynamic_shapes={name: {0: batch} for name in inputs}, strict=False
        )
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # it names the folders of one machine
        with atomic_path(folder / TORCH_FILE) as part, part.open("wb") as file:
            torch.export.save(program, file)
    return folder / TORCH_FILE


def load_torch(path: Path) -> Network:
    """Open a file that one has made oneself: the format may hold pickled Python objects.

    Raises:
        UserError: it is not there, or no program of ours.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not a program that torch.export wrote")
    with path.open("rb") as file:
        program = torch.export.load(file)
    names = {str(name) for name in program.graph_signature.user_inputs}
    module = program.module()

    def run(x_BSSC: Pixels, meta_BM: npt.NDArray[np.float32] | None) -> tuple[Numbers, Numbers]:
        feed = {IMAGE: torch.from_numpy(x_BSSC)}
        if META in names:
            assert meta_BM is not None  # which callers of such a network have
            feed[META] = torch.from_numpy(meta_BM)
        with torch.inference_mode():
            found = module(**feed)
        return found[LOGITS].numpy(), found[FEATURES].numpy()

    return run


# The engines, a row each. A new one is two functions above and a row here.


@dataclass(frozen=True, slots=True)
class Engine:
    """One format.

    Attributes:
        files: that it writes, the one to open first.
        extra: of dermlens that writing needs.
        modules: that the extra brings; writing or reading needs them.
        write: writes the files of a saved model to a folder and returns the first.
        load: opens that.
        reads_onnx: whether `write` starts from the folder's model.onnx.
    """

    files: tuple[str, ...]
    extra: str
    modules: tuple[str, ...]
    write: Callable[[SavedModel, Path], Path]
    load: Callable[[Path], Network]
    reads_onnx: bool = False


ENGINES = {
    "onnx": Engine(("model.onnx",), "export", ("onnx", "onnxscript"), write_onnx, load_onnx, reads_onnx=True),
    "openvino": Engine(
        ("model.xml", "model.bin"),
        "openvino",
        ("openvino",),
        edge.write_openvino,
        edge.load_openvino,
        reads_onnx=True,
    ),
    "litert": Engine(
        ("model.tflite",), "litert", ("litert_torch", "ai_edge_litert"), edge.write_litert, edge.load_litert
    ),
    "torch": Engine(("model.pt2",), "train", ("torch",), write_torch, load_torch),
}
