"""LiteRT (once TensorFlow Lite): telephones and small boards. A file takes one image at a time.

Shapes: B images, S side of the square, C classes, M metadata width, D features.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dermlens.atomic import atomic_path
from dermlens.data.views import Numbers, Pixels
from dermlens.deploy.engines.network import Network
from dermlens.deploy.network import FEATURES, IMAGE, LOGITS, META
from dermlens.errors import UserError, require

if TYPE_CHECKING:
    from dermlens.models.saved import SavedModel

LITERT_FILE = "model.tflite"


def write(saved: SavedModel, folder: Path) -> Path:
    """Write model.tflite, weights in fp32.

    Inputs: `image`, uint8 (1, S, S, 3), and `meta`, float32 (1, M), where the network has a metadata branch.
    Outputs by name, in no fixed order: `logits`, `features`, `probabilities`.

    Raises:
        UserError: the extra `litert` is not installed, or the model's views have several sizes.
    """
    from dermlens.deploy.engines.wrapped import Wrapped, one_size

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


def load(path: Path, threads: int | None = None) -> Network:
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
