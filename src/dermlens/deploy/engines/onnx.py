"""ONNX, for ONNX Runtime: what `dermlens predict` runs."""

from __future__ import annotations

from pathlib import Path

from dermlens.deploy.engines.network import Network
from dermlens.deploy.export import export_onnx
from dermlens.deploy.network import ONNX_FILE, OnnxNetwork
from dermlens.models.saved import SavedModel


def write(saved: SavedModel, folder: Path) -> Path:
    """Write model.onnx, unless it is there; as `export_onnx`."""
    if not (folder / ONNX_FILE).is_file():
        export_onnx(saved, folder / ONNX_FILE)
    return folder / ONNX_FILE


def load(path: Path) -> Network:
    """Open it. Raises: UserError when it is no ONNX network of ours."""
    return OnnxNetwork(path.read_bytes(), str(path))
