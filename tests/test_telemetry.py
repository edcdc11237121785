"""Nothing is left in HOME and nobody is told: ONNX Runtime's telemetry is off before it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path


def test_a_prediction_leaves_an_empty_home_empty(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    example = next(Path(str(files("dermlens") / "serve" / "page" / "examples")).glob("*.jpg"))
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run(
        [sys.executable, "-m", "dermlens", "predict", str(example), "--json"],
        env=kept | {"HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")},
        check=True,
        capture_output=True,
    )
    assert list(home.rglob("*")) == []
