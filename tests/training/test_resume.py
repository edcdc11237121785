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
        "train.epochs=4",
        "train.optimizer={kind: adamw, lr: 0.004, weight_decay: 0.05}",
        "train.schedule={kind: cosine, warmup_epochs: 0.5}",
        "train.ema=0.9",
        "train.freeze_epochs=1",
        "imbalance.loss={kind: focal}",
    ),
}
MOMENTS = [
    "first_epoch",
    "second_epoch",
    "validation",
    "checkpoint",
    "before_the_end",
    "ctrl_c",
    "polite_kill",
]


@pytest.fixture(scope="module", params=RECIPES)
def folder(request, tiny_data, tiny_recipe, tmp_path_factory):
    """Where all runs of a recipe are: the uninterrupted one, and one for each moment of a kill."""
    folder = tmp_path_factory.mktemp(request.param)
    recipe = folder / "recipe.yaml"
    tiny_recipe(*RECIPES[request.param]).save(recipe)
    command = [sys.executable, "-W", "error", str(SCRIPT), str(recipe), str(tiny_data), str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=2000
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


@pytest.fixture
def ends(folder):
    return json.loads((folder / "ends.json").read_text())


def history(run):
    return pd.read_csv(run / "history.csv").drop(columns="seconds")


def test_the_uninterrupted_run_has_what_is_to_be_resumed(folder, ends):
    assert ends["uninterrupted"] == 0
    epochs = history(folder / "uninterrupted")
    assert len(epochs) == 4
    if "authors" in folder.name:
        # The plateau was met, and early stopping ended the run before its sixth epoch.
        assert len(set(epochs["lr"])) > 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed_ends_the_same(folder, ends, moment):
    assert ends[moment]["killed"] in (-9, 130)
    assert ends[moment]["resumed"] == 0
    resumed, uninterrupted = folder / moment, folder / "uninterrupted"
    assert (resumed / "model.safetensors").read_bytes() == (uninterrupted / "model.safetensors").read_bytes()
    assert (resumed / "predictions.csv").read_bytes() == (uninterrupted / "predictions.csv").read_bytes()
    pd.testing.assert_frame_equal(history(resumed), history(uninterrupted), check_exact=True)
    kept = [json.loads((run / "run.json").read_text())["kept_epoch"] for run in (resumed, uninterrupted)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("moment", MOMENTS)
def test_nothing_of_a_killed_run_looks_whole(ends, moment):
    assert ends[moment]["status"] in ("running", "interrupted")
    assert not {"model.safetensors", "model.json", "predictions.csv"} & set(ends[moment]["left"])


@pytest.mark.parametrize("moment", ["ctrl_c", "polite_kill"])
def test_an_interrupted_run_says_how_to_go_on(folder, ends, moment):
    assert ends[moment]["killed"] == 130
    assert ends[moment]["status"] == "interrupted"
    assert ends[moment]["sentence"] == (
        f"{folder / moment} was interrupted; go on from its last whole epoch with"
        f" `dermlens train --resume {folder / moment}`"
    )
