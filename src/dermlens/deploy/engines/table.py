"""The engines, a row each. A new one is a file beside this with `write` and `load`, and a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dermlens.deploy.engines import litert, onnx, openvino, torch_program
from dermlens.deploy.engines.network import Network
from dermlens.models.saved import SavedModel


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
    "onnx": Engine(("model.onnx",), "export", ("onnx", "onnxscript"), onnx.write, onnx.load, reads_onnx=True),
    "openvino": Engine(
        ("model.xml", "model.bin"), "openvino", ("openvino",), openvino.write, openvino.load, reads_onnx=True
    ),
    "litert": Engine(
        ("model.tflite",), "litert", ("litert_torch", "ai_edge_litert"), litert.write, litert.load
    ),
    "torch": Engine(("model.pt2",), "train", ("torch",), torch_program.write, torch_program.load),
}
