"""The control: Keras itself trains the paper's network from our start, on our split. Six epochs, one CSV.

    pip install keras
    python benchmarks/keras_training.py DATA mobilenet_v3_small --weights DIR --kept DIR [--seed 0]

Where our losses lie outside what Keras finds from the same start, our training has a fault; where they lie
inside and differ from the authors' logs, the start does it. Keras's layers, loss, class weights, Adam,
dropout, shuffling and `fit` are its own, fed with arrays as in the notebooks; the pixels, the encoded
metadata and the random numbers of the start are those of our recipe and seed. Every epoch is written at once
to docs/results/paper/control/<backbone>/keras-seed-<k>.csv; a run that was interrupted goes on from its last
epoch.

Keras 3 runs on PyTorch here (KERAS_BACKEND=torch). The loss is taken of the logits, as TensorFlow 2 does
behind a softmax: the authors' validation losses of 28,974 and more are of no rounded probabilities.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")
import keras

from dermlens.data.loaders import make_loader
from dermlens.files import write_text
from dermlens.training.inputs import Inputs, read_inputs, read_role_plan
from dermlens.training.train import class_weights_of, make_task
from paper.keras_twin import build_twin
from paper.study import load_systems, recipe_of, start_of

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "paper" / "control"
COLUMNS = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds", "made_by")


def arrays(inputs: Inputs, role: str) -> tuple[list[np.ndarray], np.ndarray]:
    """A role's pixels, uint8 (N, S, S, 3), and metadata (N, M); its targets, one-hot."""
    rows = inputs.rows(role)
    loader = make_loader(
        inputs.cache, rows, inputs.meta_NM, inputs.target_N, 512, seed=0, epoch=0, shuffle=False
    )
    pixels = np.concatenate([batch["image"].permute(0, 2, 3, 1).numpy() for batch in loader])
    classes = int(inputs.target_N.max()) + 1
    return [pixels, inputs.meta_NM[rows]], np.eye(classes, dtype=np.float32)[inputs.target_N[rows]]


def read_epochs(path: Path) -> list[dict[str, object]]:
    """The epochs that are there, none where no run has begun."""
    if not path.is_file():
        return []
    return [dict(row) for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]


def write_epochs(path: Path, epochs: list[dict[str, object]]) -> None:
    """All epochs so far."""
    rows = (",".join(str(epoch[name]) for name in COLUMNS) for epoch in epochs)
    write_text(path, "".join(f"{row}\n" for row in (",".join(COLUMNS), *rows)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("backbone")
    parser.add_argument("--weights", type=Path, required=True, help="a folder of starts, as the study's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--cache", type=Path, help="of pixels")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--kept", type=Path, required=True, help="a folder for the network between epochs")
    given = parser.parse_args()
    system = load_systems()[f"{given.backbone}-md"]
    start = start_of(given.backbone, given.weights)
    recipe = recipe_of(system, short=False, seed=given.seed, overrides=start)
    inputs = read_inputs(recipe, read_role_plan(recipe, given.data), cache_root=given.cache)
    weight_C = class_weights_of(recipe, inputs)
    task = make_task(recipe, inputs, weight_C)
    keras.utils.set_random_seed(given.seed)  # of dropout and order: not ours, so seeds pair nothing
    assert task.model.normalize.mean.unique().item() == task.model.normalize.std.unique().item() == 127.5
    inner = build_twin(task.model, recipe.model, meta_width=inputs.encoder.width)
    pixels, meta = keras.Input((inputs.size, inputs.size, 3)), keras.Input((inputs.encoder.width,))
    twin = keras.Model([pixels, meta], inner([keras.layers.Rescaling(1 / 127.5, -1.0)(pixels), meta]))
    settings = recipe.train.optimizer
    twin.compile(
        optimizer=keras.optimizers.Adam(settings.lr, epsilon=settings.eps),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    x, y = arrays(inputs, "train")
    held_out = arrays(inputs, recipe.train.monitor_role)
    path = given.results / given.backbone / f"keras-seed-{given.seed}.csv"
    kept = given.kept / f"{given.backbone}-seed-{given.seed}.keras"
    made_by = f"keras {version('keras')} on torch {version('torch')}"
    epochs = read_epochs(path)
    if epochs:
        twin = keras.models.load_model(kept)
    while len(epochs) < given.epochs:
        began = time.monotonic()
        # Keras 2 reports the loss as it is trained on, weighted, and validates without weights; so does 3.
        found = twin.fit(
            x,
            y,
            batch_size=recipe.train.batch_size,
            class_weight=dict(enumerate(weight_C.tolist())),
            validation_data=held_out,
            verbose=2,
        ).history
        names = {
            "train_loss": "loss",
            "train_accuracy": "accuracy",
            "val_loss": "val_loss",
            "val_accuracy": "val_accuracy",
        }
        numbers = {ours: f"{found[theirs][0]:.6g}" for ours, theirs in names.items()}
        seconds = f"{time.monotonic() - began:.1f}"
        epochs.append({"epoch": len(epochs), **numbers, "seconds": seconds, "made_by": made_by})
        given.kept.mkdir(parents=True, exist_ok=True)
        twin.save(kept)
        write_epochs(path, epochs)


if __name__ == "__main__":
    main()
