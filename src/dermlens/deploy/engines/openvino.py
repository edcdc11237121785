"""OpenVINO's own format, from the ONNX file: Intel processors, their graphics and neural units.

`Core.read_model` reads ONNX by the same front end as `openvino.convert_model`, which also reports its use to
the makers over the network unless told not to; dermlens makes no outbound request.

Shapes: B images, S side of the square, C classes, M metadata width, D features.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dermlens.atomic import atomic_path
from dermlens.data.views import Numbers, Pixels
from dermlens.deploy.engines.network import Network
from dermlens.deploy.network import FEATURES, IMAGE, LOGITS, META, ONNX_FILE
from dermlens.errors import UserError, require

if TYPE_CHECKING:
    from dermlens.models.saved import SavedModel

OPENVINO_FILE, WEIGHTS = "model.xml", "model.bin"


def write(saved: SavedModel, folder: Path) -> Path:
    """Write model.xml and model.bin, weights in fp32, from the folder's model.onnx or from one made for it.

    Args:
        saved: a loaded model.
        folder: to write to.

    Returns:
        model.xml; it finds model.bin beside it by its name.

    Raises:
        UserError: the extra `openvino` is not installed, or model.onnx cannot be read.
    """
    openvino = require("openvino", "openvino")
    with tempfile.TemporaryDirectory() as scratch:
        source = folder / ONNX_FILE
        if not source.is_file():
            source = Path(scratch) / ONNX_FILE
            from dermlens.deploy.export import export_onnx

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


def load(path: Path, threads: int | None = None) -> Network:
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
    try:
        compiled = openvino.Core().compile_model(path, "CPU", settings)
    except RuntimeError as error:
        raise UserError(f"{path} is not a network that OpenVINO can read") from error
    names = {name for entry in compiled.inputs for name in entry.names}
    request, one_at_a_time = compiled.create_infer_request(), threading.Lock()

    def run(x_BSSC: Pixels, meta_BM: npt.NDArray[np.float32] | None) -> tuple[Numbers, Numbers]:
        feed = {IMAGE: x_BSSC} | ({META: meta_BM} if META in names else {})
        with one_at_a_time:
            try:
                found = request.infer(feed)
            except RuntimeError as error:
                raise UserError(f"{path} does not take images of {x_BSSC.shape[1]} pixels") from error
            return np.array(found[LOGITS]), np.array(found[FEATURES])

    return run
