"""The engines that benchmarks/inference_speed.py measures: how each one's file is made, opened and run."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

NETWORKS = {
    # name: pixels
    "mobilenet_v2": 224,
    "mobilenet_v3_small": 224,
    "mobilenet_v3_large": 224,
    "efficientnet_lite0": 224,
    "densenet201": 224,
}
CLASSES_OF_KERAS = {
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_small": "MobileNetV3Small",
    "mobilenet_v3_large": "MobileNetV3Large",
    "densenet201": "DenseNet201",
}
ENGINES = {
    # name: its files
    "pytorch": ("model.safetensors",),
    "onnxruntime": ("model.onnx",),
    "onnxruntime_int8": ("int8/model.onnx",),
    "openvino": ("model.xml", "model.bin"),
    "litert": ("model.tflite",),
    "keras": ("model.keras",),
}
RANGES = 16
"""Pictures whose activations set the ranges of int8: too few for accuracy, enough for speed."""
Run = Callable[[np.ndarray], Any]


def prepare(engine: str, name: str, folder: Path) -> None:
    """Make the file of an engine; PyTorch's comes first, since the others are made from it."""
    folder.mkdir(parents=True, exist_ok=True)
    if engine == "keras":
        _make_keras(name, folder)
        return
    if engine == "onnxruntime_int8":
        _make_int8(folder)
        return
    from dermlens.models.saved import load_model

    if engine == "pytorch":
        _make_network(name, folder)
    elif engine == "onnxruntime":
        from dermlens.export.onnx_export import export_folder

        export_folder(folder, folder)
    elif engine == "openvino":
        from dermlens.export.edge import write_openvino

        write_openvino(load_model(folder), folder)
    else:
        from dermlens.export.edge import write_litert

        write_litert(load_model(folder), folder)


def _make_network(name: str, folder: Path) -> None:
    import torch

    from dermlens.labels import CLASSES
    from dermlens.models.classifier import build_classifier
    from dermlens.models.config import ModelConfig
    from dermlens.models.saved import SavedModel, save_model
    from dermlens.predict.metadata import make_encoder

    torch.manual_seed(0)
    config = ModelConfig(backbone=name, cut="plain", form="library", attention="none", metadata="none")
    model = build_classifier(config, num_classes=7, meta_width=0, size=NETWORKS[name])
    encoder = make_encoder("none").fit([], [], [])
    save_model(folder, SavedModel(model, config, CLASSES, NETWORKS[name], "center", encoder))


def _make_int8(folder: Path) -> None:
    from dermlens.data.synthetic.folder import write_synthetic
    from dermlens.data.table import read_table
    from dermlens.export.int8 import _int8
    from dermlens.predict.document import read_document

    with tempfile.TemporaryDirectory() as scratch:
        drawn = read_table(write_synthetic(Path(scratch) / "set", lesions=RANGES, size=(225, 300)))
        document = read_document(folder / "model.json")
        content = (folder / "model.onnx").read_bytes()
        made = _int8(content, document, drawn[:RANGES], Path(scratch))
    (folder / "int8").mkdir(exist_ok=True)
    (folder / "int8" / "model.onnx").write_bytes(made)


def _make_keras(name: str, folder: Path) -> None:
    import keras

    kind = CLASSES_OF_KERAS[name]
    options = {"include_preprocessing": False} if "V3" in kind else {}
    size = NETWORKS[name]
    network = getattr(keras.applications, kind)(
        weights=None, input_shape=(size, size, 3), classifier_activation=None, **options
    )
    scaled = keras.layers.Rescaling(1 / 127.5, -1)
    keras.Sequential([keras.Input((size, size, 3)), scaled, network, keras.layers.Dense(7)]).save(
        folder / "model.keras"
    )


def serve(engine: str, name: str, folder: Path, threads: int) -> None:
    """Open an engine, answer once, then run blocks as standard input asks for: batch and seconds a line."""
    run = _open(engine, folder, threads)
    rng = np.random.default_rng(0)
    pixels = {
        batch: rng.integers(0, 256, (batch, NETWORKS[name], NETWORKS[name], 3), dtype=np.uint8)
        for batch in (1, 32)
    }
    run(pixels[1])
    megabytes = sum((folder / file).stat().st_size for file in ENGINES[engine]) / 1e6
    print("result", json.dumps({"mb": megabytes}), flush=True)
    for line in sys.stdin:
        batch, seconds = line.split()
        calls: list[float] = []
        begun, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - begun < float(seconds) or (batch == "1" and len(calls) < 3):
            before = time.perf_counter()
            run(pixels[int(batch)])
            calls.append(time.perf_counter() - before)
        found = {"calls": calls, "cpu": time.process_time() - cpu, "peak_mb": _peak_mb()}
        print("result", json.dumps(found), flush=True)


def _open(engine: str, folder: Path, threads: int) -> Run:
    if engine in ("pytorch", "keras"):
        import torch

        torch.set_num_threads(threads)
    if engine == "pytorch":
        from dermlens.models.saved import load_model

        model = load_model(folder).model.to(memory_format=torch.channels_last)

        def eager(x_BSSC: np.ndarray) -> Any:
            with torch.inference_mode():
                return model(torch.from_numpy(x_BSSC).permute(0, 3, 1, 2))[0].numpy()

        return eager
    if engine == "keras":
        import keras

        return keras.saving.load_model(folder / "model.keras", compile=False).predict_on_batch
    path = folder / ENGINES[engine][0]
    if engine.startswith("onnxruntime"):
        from dermlens.predict.network import OnnxNetwork

        opened = OnnxNetwork(path.read_bytes(), str(path), threads)
        return lambda x_BSSC: opened(x_BSSC, None)
    if engine == "litert":
        from dermlens.export.edge import load_litert as load
    else:
        from dermlens.export.edge import load_openvino as load
    loaded = load(path, threads)
    return lambda x_BSSC: loaded(x_BSSC, None)


def _peak_mb() -> float:
    """The process's largest resident size; unlike getrusage's it does not begin with the parent's."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")
