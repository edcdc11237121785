"""What may lie beside the files that every run has: its decision, reports of it, strangers, other sets."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.decision.document import DecisionDocument
from dermlens.errors import UserError
from dermlens.evaluation.dermoscopy import DERMOSCOPY
from dermlens.evaluation.operating_points import sought_recall
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
    table = _read(path, words=("prior", "stage"), numbers=("ece", "log_loss", "brier"))
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
    numbers = ("images", "auroc", "low", "high", "flagged", "familiar_flagged")
    paths = sorted(run.path.glob(STRANGERS))
    return {path.name: _read(path, words=("set", "score"), numbers=numbers) for path in paths}


def read_dermoscopy(run: Run) -> pd.DataFrame | None:
    """What `learn-dermoscopy` measured; none where the model cannot tell. Raises: UserError."""
    path, document = run.path / DERMOSCOPY, run.path / "model.json"
    if not path.is_file() or not document.is_file() or read_document(document).dermoscopy is None:
        return None
    return _read(
        path,
        words=("set", "dermoscopy"),
        numbers=("images", "lesions", "taken", "low", "high", "taken_unseen"),
    )


def read_told(run: Run) -> pd.DataFrame | None:
    """What the model is worth told less of patients; none where it was not measured.

    Raises:
        UserError: the file is no such table, or its first row, where nothing is withheld, is of other scores
            than metrics.json.
    """
    path = run.path / TOLD
    if not path.is_file():
        return None
    measures = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]
    table = _read(path, words=("told", "role"), numbers=("images", *measures))
    first = table.iloc[0]
    scores = run.read_metrics()["roles"].get(first["role"])
    if scores is None:
        raise UserError(f"{path} is of role {first['role']}, which metrics.json beside it has no scores of")
    measured = {name: _value(scores, place) for name, place in MEASURES.items()} | {
        "images": scores["images"]
    }
    if not all(
        np.isclose(first[name], measured[name], rtol=0, atol=SAME, equal_nan=True) for name in measured
    ):
        raise UserError(
            f"{path} is of other predictions than metrics.json: write it again with `dermlens told-less"
            f" {run.path} --role {first['role']} --output {path}`"
        )
    return table


def read_other_sets(run: Run) -> dict[str, dict[str, Any]]:
    """What metrics.json says of the role `external`, by the name of the set that was scored.

    Raises:
        UserError: one has no such role.
    """
    found = {}
    for path in sorted((run.path / "evaluations").glob("*/metrics.json")):
        roles = Run(path.parent).read_metrics().get("roles") or {}
        if "external" not in roles:
            raise UserError(
                f"{path} has no scores of a role external, which `dermlens evaluate --data` writes"
            )
        found[path.parent.name] = roles["external"]
    return found


def _value(scores: Mapping[str, Any], place: Sequence[str]) -> float:
    """One value of a role's scores; NaN where undefined."""
    found: Any = scores if place else {"value": sought_recall(scores).get("value")}
    for key in (*place, "value"):
        found = (found or {}).get(key)
    return math.nan if found is None else float(found)


def _read(path: Path, *, words: Sequence[str], numbers: Sequence[str]) -> pd.DataFrame:
    """A table with a row or more, its columns `words` text and `numbers` float, NaN where empty."""
    said = "a file of this name is a table that dermlens wrote"
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a CSV table: {' '.join(str(error).split())}; {said}") from error
    if lacking := [name for name in (*words, *numbers) if name not in table.columns]:
        raise UserError(f"{path} lacks column {lacking[0]}; {said}")
    if table.empty:
        raise UserError(f"{path} has no row below its header; {said}")
    for name in numbers:
        column = pd.to_numeric(table[name], errors="coerce")
        if (bad := column.isna() & table[name].notna()).any():
            row = int(np.flatnonzero(bad)[0])
            raise UserError(
                f"{path}, row {row + 2}: {name} is {table[name].iloc[row]!r}; it must be a number"
            )
        table[name] = column
    return table.astype(dict.fromkeys(words, str))
