"""A probe trains a few real steps; its table keeps one row a system."""

from __future__ import annotations

import math
import sys

import pandas as pd
import pytest
import torch

from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured
from dermlens.models.summary import count
from dermlens.recipe import load_recipe
from dermlens.training.fit import fit
from dermlens.training.task import LesionTask
from paper.probe import COLUMNS, measure_uncut, probe, read_probes, write_probe

from .tiny_study import tiny_study


def test_a_probe_counts_the_network_and_the_steps_of_a_training(data, cache, tmp_path):
    system = tiny_study(tmp_path / "tiny.yaml").systems["elsewhere"]
    row = probe(system, data, device="cpu")
    assert tuple(row) == COLUMNS
    recipe = load_recipe(system.recipe)
    run = fit(recipe, data, out=tmp_path / "run", device="cpu", cache=cache)
    assert (row["trainable_parameters"], row["total_parameters"]) == count(run.model().model)
    table = read_configured(data, recipe.data)
    train = resolve_split(table, recipe.split).ids("train")
    assert row["steps_per_epoch"] == math.ceil(len(train) / 16)
    assert row["hours"] == pytest.approx(row["seconds_per_step"] * row["steps_per_epoch"] * 2 / 3600)
    assert 0 < row["latency_ms_p50"] <= row["latency_ms_p95"]


def test_a_smaller_batch_stands_for_one_that_does_not_fit(data, tmp_path, monkeypatch):
    system = tiny_study(tmp_path / "tiny.yaml").systems["elsewhere"]
    whole = probe(system, data, device="cpu")
    timed = []
    module = sys.modules["paper.probe"]
    monkeypatch.setattr(module, "_steps", lambda recipe, *_: timed.append(recipe.train.batch_size) or 1.5)
    row = probe(system.model_copy(update={"timed_batch": 4}), data, device="cpu")
    assert timed == [4]
    assert (row["batch_size"], row["timed_batch"], row["seconds_per_step"]) == (16, 4, 6.0)
    assert (whole["timed_batch"], whole["steps_per_epoch"]) == (16, row["steps_per_epoch"])


def test_a_loss_that_is_not_finite_is_a_failure(data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        LesionTask, "training_step", lambda self, batch, _: self(batch).sum() * torch.tensor(math.nan)
    )
    with pytest.raises(RuntimeError, match=r"step 1 .*nan"):
        probe(tiny_study(tmp_path / "tiny.yaml").systems["elsewhere"], data, device="cpu")


def test_a_row_a_system_in_the_order_of_the_study(tmp_path):
    path = tmp_path / "deep" / "probes.csv"
    assert read_probes(path) == {}
    blank = dict.fromkeys(COLUMNS, 1)
    for name, size in (("densenet201-md", 1), ("mobilenet_v3_small-md", 2), ("densenet201-md", 3)):
        write_probe(path, blank | {"system": name, "size": size})
    assert {name: row["size"] for name, row in read_probes(path).items()} == {
        "mobilenet_v3_small-md": 2,
        "densenet201-md": 3,
    }
    assert pd.read_csv(path)["system"].tolist() == ["mobilenet_v3_small-md", "densenet201-md"]


def test_uncut_networks_are_those_of_table_4():
    table = measure_uncut().set_index("backbone")
    assert len(table) == 10
    # Keras's documentation: 25.6 M, 98 MB; 88.9 M, 343 MB (files, a little more than the numbers in them)
    assert table.loc["resnet50", "parameters_m"] == pytest.approx(25.6, abs=0.05)
    assert table.loc["resnet50", "size_mb"] == pytest.approx(98, abs=0.5)
    assert table.loc["nasnet_large", "parameters_m"] == pytest.approx(88.9, abs=0.05)
    assert table.loc["densenet201", "depth"] == 402
