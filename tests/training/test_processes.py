"""Two processes on a CPU: one run, the same weights in both, and the training of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("two_processes.py")


SAME = (
    # No layer looks at its batch: batch norms stand still in the frozen backbone, and dropout is 0.
    "train.freeze_epochs=2",
    "model.dropout=0",
    "train.keep=last",
    "train.ema=0.9",
    "train.batch_size=12",
    "train.optimizer={kind: sgd, lr: 0.01}",
    "augment=null",
)


@pytest.fixture(scope="module")
def both(tiny_data, tiny_recipe, tmp_path_factory):
    """A training by two processes: the run directory and what was printed."""
    folder = tmp_path_factory.mktemp("processes")
    recipe = folder / "both.yaml"
    tiny_recipe(*SAME).save(recipe)
    command = [sys.executable, *map(str, (SCRIPT, recipe, tiny_data, folder / "both", 2))]
    # The processes find each other at a port: no settings of the machine shall interfere.
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MASTER_", "SLURM_"))}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=1500)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "both", done.stdout


def ranks(run):
    return [run.with_name(f"{run.name}-rank{rank}.sha256").read_text() for rank in (0, 1)]


def test_two_processes_are_one_run_with_the_same_weights(both):
    run, printed = both
    assert ranks(run)[0] == ranks(run)[1]
    assert not run.with_name("both-2").exists()
    assert printed.count("epoch 2/2") == 1
    assert printed.count("trained:") == 1
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["devices"]) == ("completed", 2)
    assert {"model.safetensors", "history.csv", "predictions.csv"} <= {file.name for file in run.iterdir()}


def test_two_processes_train_like_one_with_the_whole_batch(both, train, tiny_recipe):
    """Each process takes every second image of a batch: the mean of their gradients is its gradient."""
    one, two = train(tiny_recipe(*SAME)).path, both[0]
    images = sum(json.loads((one / "run.json").read_text())["counts"]["train"].values())
    assert images % 2 == 0, "an odd image is seen twice by two processes; take another seed of the split"
    losses = [
        pd.read_csv(run / "history.csv")[["train_loss", "val_loss", "val_accuracy"]] for run in (one, two)
    ]
    pd.testing.assert_frame_equal(*losses, rtol=1e-5)
    weights = [load_file(run / "model.safetensors") for run in (one, two)]
    moved = [name for name in weights[0] if not name.startswith(("backbone.", "normalize."))]
    for name in moved:
        assert (weights[0][name] - weights[1][name]).abs().max() < 1e-5, name
