"""ONNX Runtime, which is imported here and nowhere else, because something has to be done before.

From version 1.29 on it writes a device's id and a data base of events into the home folder, and sends them to
its makers, unless `ORT_DISABLE_TELEMETRY` is set when it is loaded.
"""

from __future__ import annotations

import importlib
import os
from typing import Any


def onnx_runtime(part: str = "") -> Any:
    """The module `onnxruntime`, or a part of it such as `quantization`, without its telemetry."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module(f"onnxruntime.{part}" if part else "onnxruntime")
