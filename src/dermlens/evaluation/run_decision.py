"""What a run's decision is worth, shown on one of its roles."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermlens.errors import UserError, nearest
from dermlens.evaluation.calibrate import run_outputs
from dermlens.evaluation.decision_report import write_decision_report
from dermlens.evaluation.predictions import read_predictions
from dermlens.models.saved import load_model
from dermlens.runs import Run


def report_run(
    run: Run,
    role: str,
    folder: Path,
    *,
    data: Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
) -> dict[str, pd.DataFrame]:
    """`write_decision_report` of a calibrated run, for one of its roles.

    Args:
        run: calibrated, with predictions of the role: those of the test role are there once it was opened.
        role: of its split.
        folder: to write to.
        data: where its images are now; none takes the folder that it was trained on.
        device: as for `predict_table`.
        cache: likewise.

    Returns:
        The tables by the name of their file.

    Raises:
        UserError: the run is not calibrated, has no predictions of the role, or its images are not there.
    """
    saved = load_model(run.path)
    if saved.decision is None:
        raise UserError(f"run {run.path} decides nothing yet: dermlens calibrate {run.path}")
    scored = read_predictions(run.predictions_file)["role"].unique()
    if role not in scored:
        raise UserError(f"run {run.path} has no predictions of role {role}{nearest(role, scored)}")
    labelled = run_outputs(run, saved, (role,), data=data, device=device, cache=cache)[role].labelled
    return write_decision_report(folder, labelled, saved.decision, saved.arrays, vocabulary=saved.vocabulary)
