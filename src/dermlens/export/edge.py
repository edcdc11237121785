"""Engines that open their files without torch: OpenVINO and LiteRT.

Shapes: B images, S side of the square, C classes, M metadata width, D features.
"""

from __future__ import annotations

import logging
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dermlens.errors import UserError, require
from dermlens.files import atomic_path
from dermlens.predict.network import FEATURES, IMAGE, LOGITS, META, ONNX_FILE, Network
from dermlens.predict.pictures.preprocessing import Numbers, Pixels

if TYPE_CHECKING:
    from dermlens.models.saved import SavedModel


# OpenVINO's own format, from the ONNX file: Intel processors, their graphics and neural units.
#
# `Core.read_model` reads ONNX by the same front end as `openvino.convert_model`, which also reports its use
# to the makers over the network unless configured not to; dermlens makes no outbound request.


OPENVINO_FILE, WEIGHTS = "model.xml", "model.bin"


def write_openvino(saved: SavedModel, folder: Path) -> Path:
    """Write model.xml and model.bin, weights in fp32, from the folder's model.onnx or from one made for it.

    Args:
        saved: a loaded model.
        folder: to write to.

    Returns:
        model.xml; it finds model.bin next to it by its name.

    Raises:
        UserError: the extra `openvino` is not installed, or model.onnx cannot be read.
    """
    openvino = require("openvino", "openvino")
    with tempfile.TemporaryDirectory() as scratch:
        source = folder / ONNX_FILE
        if not source.is_file():
            source = Path(scratch) / ONNX_FILE
            from dermlens.export.onnx_export import export_onnx

            export_onnx(saved, source)
        try:
            network = openvino.Core().read_model(source)
        except RuntimeError as error:
            raise UserError(f"{source} is not an ONNX network that OpenVINO can read") from error
        made = Path(scratch) / OPENVINO_FILE
        openvino.save_model(network, made, compress_to_fp16=False)
        for name in (WEIGHTS, OPENVINO_FILE):  # a graph is never there before its weights
            with atomic_path(folder / name) as part:
                part.write_bytes((Path(scratch) / name).read_bytes())
    return folder / OPENVINO_FILE


def load_openvino(path: Path, threads: int | None = None) -> Network:
    """Compile the file for the processor, in fp32 also where it has faster and coarser arithmetic.

    Args:
        path: of model.xml, or of an ONNX file.
        threads: that it may use; none for all.

    Raises:
        UserError: the extra is not installed, or it is no network that OpenVINO can read.
    """
    openvino = require("openvino", "openvino")
    settings: dict[str, object] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    core = openvino.Core()
    try:
        compiled = core.compile_model(path, "CPU", settings)
    except RuntimeError as error:
        raise UserError(f"{path} is not a network that OpenVINO can read") from error
    names = {name for entry in compiled.inputs for name in entry.names}
    request, one_at_a_time = compiled.create_infer_request(), threading.Lock()
    sides: set[int] = set()

    def run(x_BSSC: Pixels, meta_BM: npt.NDArray[np.float32] | None) -> tuple[Numbers, Numbers]:
        feed = {IMAGE: x_BSSC} | ({META: meta_BM} if META in names else {})
        with one_at_a_time:
            try:
                if (side := x_BSSC.shape[1]) not in sides:
                    # on one thread `infer` gives its last answer again where a size is impossible
                    core.read_model(path).reshape({IMAGE: list(x_BSSC.shape)})
                    sides.add(side)
                found = request.infer(feed)
            except RuntimeError as error:
                raise UserError(f"{path} does not take images of {side} pixels") from error
            return np.array(found[LOGITS]), np.array(found[FEATURES])

    return run


# LiteRT (once TensorFlow Lite): telephones and small boards. A file takes one image at a time.


LITERT_FILE = "model.tflite"


def write_litert(saved: SavedModel, folder: Path) -> Path:
    """Write model.tflite, weights in fp32.

    Inputs: `image`, uint8 (1, S, S, 3), and `meta`, float32 (1, M), where the network has a metadata branch.
    Outputs by name, in no fixed order: `logits`, `features`, `probabilities`.

    Raises:
        UserError: the extra `litert` is not installed, or the model's views have several sizes.
    """
    from dermlens.export.onnx_export import Wrapped, one_size

    one_size(saved, "LiteRT")
    converter = require("litert_torch", "litert")
    network = Wrapped(saved)
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # of its passes and their seconds
    try:
        made = converter.convert(network, (), network.sample(1))
        with atomic_path(folder / LITERT_FILE) as part:
            made.export(str(part))
    finally:
        logging.disable(level)
    return folder / LITERT_FILE


def load_litert(path: Path, threads: int | None = None) -> Network:
    """Open the file; several images go one by one.

    Args:
        path: of model.tflite.
        threads: that it may use; none for its own choice.

    Raises:
        UserError: ai-edge-litert is not installed, or it is no file of ours.
    """
    runtime = require("ai_edge_litert.interpreter", "litert")
    try:
        interpreter = runtime.Interpreter(model_path=str(path), num_threads=threads)
        runner = interpreter.get_signature_runner()
        names = set(runner.get_input_details())
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not a LiteRT file that dermlens wrote") from error
    one_at_a_time = threading.Lock()

    def run(x_BSSC: Pixels, meta_BM: npt.NDArray[np.float32] | None) -> tuple[Numbers, Numbers]:
        logits, features = [], []
        for row, x_SSC in enumerate(x_BSSC):
            feed = {IMAGE: x_SSC[None]}
            if META in names:
                assert meta_BM is not None  # which callers of such a network have
                feed[META] = meta_BM[row : row + 1]
            with one_at_a_time:
                found = runner(**feed)
            logits.append(found[LOGITS][0])
            features.append(found[FEATURES][0])
        return np.stack(logits), np.stack(features)

    return run
