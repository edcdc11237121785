"""What every engine's file computes: from pixels as a decoder gives them to calibrated probabilities.

Shapes: B images, S side of the square, C classes, M metadata width, D features.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from dermlens.data.views import Numbers, Pixels
from dermlens.deploy.engines.network import Network
from dermlens.deploy.export import ExportedNetwork
from dermlens.deploy.network import FEATURES, IMAGE, LOGITS, META, PROBABILITIES
from dermlens.errors import UserError
from dermlens.models.saved import SavedModel

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
