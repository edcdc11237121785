"""TensorBoard and MLflow, for those who want a run there as well."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, get_args

from dermlens.errors import UserError, nearest, require
from dermlens.recipe import Recipe

Tracker = Literal["csv", "tensorboard", "mlflow"]


def check_tracker(tracker: str) -> None:
    """Refuse a tracker that is not there before a run begins.

    Raises:
        UserError: an unknown tracker, its package is not installed, or MLflow has no server.
    """
    if tracker not in get_args(Tracker):
        raise UserError(f"--logger {tracker} is not known{nearest(tracker, get_args(Tracker))}")
    if tracker != "csv":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports its use to its makers
        require(tracker, "track")
    if tracker == "mlflow" and not os.environ.get("MLFLOW_TRACKING_URI"):
        raise UserError(
            "--logger mlflow needs MLFLOW_TRACKING_URI, the address of an MLflow server such as"
            " http://localhost:5000"
        )


def make_loggers(tracker: str, folder: Path, recipe: Recipe) -> list[Any]:
    """The Lightning loggers of a run.

    Args:
        tracker: `csv` is none besides history.csv; `tensorboard` writes into the run directory; `mlflow`
            sends to the server that MLFLOW_TRACKING_URI names.
        folder: the run directory.
        recipe: logged as the run's parameters.

    Returns:
        One logger, or none.
    """
    if tracker == "csv":
        return []
    from lightning.pytorch import loggers

    logger: Any
    if tracker == "tensorboard":
        logger = loggers.TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)
    else:
        uri = os.environ["MLFLOW_TRACKING_URI"]
        logger = loggers.MLFlowLogger(experiment_name="dermlens", run_name=folder.name, tracking_uri=uri)
    logger.log_hyperparams(recipe.model_dump(mode="json"))
    return [logger]
