"""A run that was killed and resumed ends where the other does: weights, predictions and history."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).with_name("killed_runs.py")
RECIPES = {
    # Between them: every optimiser state, every callback with a memory.
    "authors": (
        "train.epochs=6",
        "train.optimizer={kind: keras_adam, lr: 0.01, eps: 0.1}",
        "train.schedule={kind: plateau, patience: 1}",
        "train.early_stopping={patience: 3, min_delta: 10}",
        "train.keep=last",
    ),
    "modern": (
        "train.epochs=3",
        "train.optimizer={kind: adamw, lr: 0.004, weight_decay: 0.05}",
        "train.schedule={kind: cosine, warmup_epochs: 0.5}",
        "train.ema=0.9",
        "train.freeze_epochs=1",
        "imbalance.loss={kind: focal}",
    ),
}
MOMENTS = {
    # Every moment once: a kill is the same whatever the recipe.
    "authors": ("first_epoch", "validation", "ctrl_c", "before_the_end"),
    "modern": ("second_epoch", "checkpoint", "polite_kill"),
}
ASKED = ("ctrl_c", "polite_kill")
"""Those that it hears, and may answer."""


@pytest.fixture(scope="module")
def folder(request, tiny_data, tiny_recipe, tmp_path_factory):
    """Where all runs of a recipe are: the uninterrupted one, and one for each moment of a kill."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = folder / "recipe.yaml"
    tiny_recipe(*RECIPES[request.param]).save(recipe)
    words = (SCRIPT, recipe, tiny_data, folder, *MOMENTS[request.param])
    command = [sys.executable, "-W", "error", *map(str, words)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=2000
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


def history(run):
    return pd.read_csv(run / "history.csv").drop(columns="seconds")


def kept_epoch(run):
    return json.loads((run / "run.json").read_text())["kept_epoch"]


@pytest.mark.parametrize("folder", RECIPES, indirect=True)
def test_killed_and_resumed_it_ends_the_same(folder):
    """All moments in one test, whose trainings no second worker repeats."""
    ends = json.loads((folder / "ends.json").read_text())
    uninterrupted = folder / "uninterrupted"
    assert ends.pop("uninterrupted") == 0
    epochs = history(uninterrupted)
    if "authors" in folder.name:
        # The plateau was met, and early stopping ended the run before its sixth epoch.
        assert len(epochs) == 4
        assert len(set(epochs["lr"])) > 1
    assert len(ends) > 2
    for moment, end in ends.items():
        # Nothing of a killed run looks whole, and an interrupted one says how to go on.
        assert end["killed"] == (130 if moment in ASKED else -9), moment
        assert end["status"] == ("interrupted" if moment in ASKED else "running"), moment
        assert not {"model.safetensors", "model.json", "predictions.csv"} & set(end["left"]), moment
        if moment in ASKED:
            assert end["sentence"].endswith(f"`dermlens train --resume {folder / moment}`")
        assert end["resumed"] == 0, moment
        resumed = folder / moment
        for name in ("model.safetensors", "predictions.csv"):
            assert (resumed / name).read_bytes() == (uninterrupted / name).read_bytes(), (moment, name)
        pd.testing.assert_frame_equal(history(resumed), epochs, check_exact=True)
        assert kept_epoch(resumed) == kept_epoch(uninterrupted), moment
