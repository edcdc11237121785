"""Far strangers: images of another kind altogether, shown to a trained run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dermlens.evaluation.calibrate import FITTED, label_outputs, run_outputs
from dermlens.evaluation.decision_report import write_table
from dermlens.evaluation.strangers import stranger_table
from dermlens.evaluation.told import untold
from dermlens.models.saved import load_model
from dermlens.runs import Run


def far_ood(
    run: Run,
    strangers: Mapping[str, pd.DataFrame],
    path: Path,
    *,
    metadata: bool = True,
    data: Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
) -> pd.DataFrame:
    """Score sets of strangers against the images of the run's selection role.

    Args:
        run: a completed run with train, selection and calibration roles.
        strangers: LesionTables by the name of the set; `write_photographs` makes one, and `read_table` one of
            photographs of lesions that no dermatoscope took. Their diagnoses are not looked at.
        path: of the CSV to write.
        metadata: whether the network is told age, sex and site. Strangers that have none can stand out by
            that alone; without it the run's own images go untold too, those that fit the scores included.
        data: where the run's own images are now; none takes the folder that it was trained on.
        device: auto, cpu, cuda or mps.
        cache: root of the pixel cache; none for the usual one.

    Returns:
        The rows of `stranger_table`.

    Raises:
        UserError: the split lacks a role, or images are not there.
    """
    saved = load_model(run.path)
    known = (lambda table: table) if metadata else untold
    own = run_outputs(run, saved, FITTED, data=data, told=known, device=device, cache=cache)
    train, familiar, calibration = (own[role].labelled for role in FITTED)
    shown = {
        name: label_outputs(saved, known(table), device=device, cache=cache)
        for name, table in strangers.items()
    }
    result = stranger_table(train, calibration, familiar, shown)
    write_table(path, result)
    return result
