"""Which module of ours is which layer of Keras, in the order in which Keras writes its weight files.

    pip install keras
    python benchmarks/keras_layer_tables.py

Writes src/dermlens/models/pretrained/keras_layers/<backbone>.csv, by which `.h5` files are converted without
Keras. Keras reads these files by the order of its layers, whatever their names; so do we.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import torch
from keras_agreement import KERAS, NAMES, Layers, names_in_order

from dermlens.files import atomic_path
from dermlens.models.cuts import build_backbone

os.environ.setdefault("KERAS_BACKEND", "torch")
TABLES = Path(__file__).parents[1] / "src" / "dermlens" / "models" / "pretrained" / "keras_layers"


def layers_of(name: str) -> Layers:
    """Keras's layers with weights, in its order, with zeros for values."""
    import keras

    keras.utils.clear_session()  # layer numbers start anew
    kind = KERAS[name][0]
    options = {"include_preprocessing": False} if "V3" in kind else {}
    model = getattr(keras.applications, kind)(weights=None, **options)
    return {
        layer.name: {
            weight.path.rpartition("/")[2]: np.zeros(weight.shape, np.float32) for weight in layer.weights
        }
        for layer in model.layers
        if layer.weights
    }


def main() -> None:
    for name in KERAS:
        layers = layers_of(name)
        with torch.device("meta"):
            network = build_backbone(name, "plain")
        module_of = {layer: ours for ours, layer in NAMES.get(name, names_in_order)(layers, network)}
        with (
            atomic_path(TABLES / f"{name}.csv") as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["keras_layer", "module"])
            writer.writerows((layer, module_of[layer]) for layer in layers)
        print(name, len(layers))


if __name__ == "__main__":
    main()
