"""What may lie beside the files that every run has: its decision, reports of it, strangers, other sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dermlens.decision.document import DecisionDocument
from dermlens.errors import UserError
from dermlens.evaluation.told import MEASURES
from dermlens.models.document import read_document
from dermlens.runs import Run

DECISION_REPORTS = "decision"
"""`dermlens decision-report RUN --role ROLE --out RUN/decision/ROLE` writes where cards look for it."""
TOLD = "told.csv"
"""What `told-less` writes, likewise."""
STRANGERS = "*_ood*.csv"
"""What `far-ood` and `near-ood` write; a card shows those that lie in the run's folder."""

SAME = 5e-4
"""Another machine's forward pass moves a calibration error by less; another decision by far more."""


def read_decision(run: Run) -> DecisionDocument | None:
    """The decision in model.json; none where there is no such file, or it has none."""
    path = run.path / "model.json"
    return read_document(path).decision if path.is_file() else None


def read_calibration(run: Run, role: str, scores: Mapping[str, Any]) -> pd.DataFrame | None:
    """calibration.csv of the decision report of a role; none where there is no report.

    Args:
        run: the run.
        role: that it was made of.
        scores: of that role, in metrics.json.

    Raises:
        UserError: the file is no such table, or of a decision that the run has no longer.
    """
    path = run.path / DECISION_REPORTS / role / "calibration.csv"
    if not path.is_file():
        return None
    table = _read(path, ("prior", "stage", "ece", "log_loss", "brier"))
    after = table[(table["prior"] == "natural") & (table["stage"] == "after")]
    for name in ("ece", "log_loss"):
        if len(after) != 1 or not abs(float(after[name].iloc[0]) - scores["overall"][name]["value"]) < SAME:
            raise UserError(
                f"{path} is of other probabilities than metrics.json: write it again with `dermlens"
                f" decision-report {run.path} --role {role} --out {path.parent}`"
            )
    return table


def read_strangers(run: Run) -> dict[str, pd.DataFrame]:
    """Tables of strangers by the name of their file. Raises: UserError where one is no such table."""
    columns = ("set", "score", "images", "auroc", "low", "high", "flagged", "familiar_flagged")
    return {path.name: _read(path, columns) for path in sorted(run.path.glob(STRANGERS))}


def read_told(run: Run) -> pd.DataFrame | None:
    """What the model is worth told less of patients; none where it was not measured. Raises: UserError."""
    path = run.path / TOLD
    columns = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    return _read(path, ("told", "role", "images", *columns)) if path.is_file() else None


def read_other_sets(run: Run) -> dict[str, dict[str, Any]]:
    """What metrics.json says of the role `external`, by the name of the set that was scored."""
    found = sorted((run.path / "evaluations").glob("*/metrics.json"))
    return {path.parent.name: Run(path.parent).read_metrics()["roles"]["external"] for path in found}


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    table = pd.read_csv(path)
    lacking = [name for name in columns if name not in table.columns]
    if lacking:
        raise UserError(
            f"{path} lacks column {lacking[0]}; a file of this name is a table that dermlens wrote"
        )
    return table
