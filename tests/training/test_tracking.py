"""Trackers in addition to history.csv."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from dermlens.errors import UserError
from dermlens.training.fit import fit


@pytest.mark.parametrize("logger", ["tensorboard", "mlflow"])
def test_a_missing_package_names_its_extra(logger, tiny_recipe, tiny_data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, logger, None)
    with pytest.raises(UserError, match=r"pip install 'dermlens\[track\]'"):
        fit(tiny_recipe(), tiny_data, out=tmp_path / "run", logger=logger)
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_history(tiny_recipe, tiny_data, cache, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = fit(tiny_recipe(), tiny_data, out=tmp_path / "run", device="cpu", cache=cache, logger="tensorboard")
    events = event_accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    logged = [event.value for event in events.Scalars("val_loss")]
    assert logged == pytest.approx(pd.read_csv(run.history_file)["val_loss"].tolist())


def test_mlflow_gets_the_history(tiny_recipe, tiny_data, cache, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    # A folder stands in for a server, which MLflow wants to be asked for.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "server").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    run = fit(tiny_recipe(), tiny_data, out=tmp_path / "run", device="cpu", cache=cache, logger="mlflow")
    client = mlflow.MlflowClient((tmp_path / "server").as_uri())
    experiment = client.get_experiment_by_name("dermlens")
    (tracked,) = client.search_runs([experiment.experiment_id])
    logged = [entry.value for entry in client.get_metric_history(tracked.info.run_id, "val_loss")]
    assert logged == pytest.approx(pd.read_csv(run.history_file)["val_loss"].tolist())
    assert tracked.data.params["model/backbone"] == "mobilenet_v3_small"


def test_mlflow_wants_a_server(tiny_recipe, tiny_data, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="needs MLFLOW_TRACKING_URI"):
        fit(tiny_recipe(), tiny_data, out=tmp_path / "run", logger="mlflow")
