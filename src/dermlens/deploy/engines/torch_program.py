"""PyTorch's own exported program, `.pt2`: for programs in torch that shall not need dermlens.

Shapes: B images, S side of the square, C classes, M metadata width, D features.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from dermlens.atomic import atomic_path
from dermlens.data.views import Numbers, Pixels
from dermlens.deploy.engines.network import Network
from dermlens.deploy.engines.wrapped import Wrapped, one_size
from dermlens.deploy.network import FEATURES, IMAGE, LOGITS, META
from dermlens.errors import UserError
from dermlens.models.saved import SavedModel

TORCH_FILE = "model.pt2"


def write(saved: SavedModel, folder: Path) -> Path:
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


def load(path: Path) -> Network:
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
