"""What a model is worth when less is known of the patient.

Elsewhere age and sex are often missing, and the site comes in other words or not at all. Images of one role
are answered again with only part of what the table says; what is withheld is given as missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dermlens.data.predictions import write_table
from dermlens.errors import UserError, nearest
from dermlens.evaluation.detection import sought_recall
from dermlens.evaluation.score import score
from dermlens.models.saved import SavedModel
from dermlens.report.run_data import METADATA_MEASURES
from dermlens.runs import Run
from dermlens.training.predict import predict_table


def without_metadata(table: pd.DataFrame) -> pd.DataFrame:
    """A LesionTable whose patients nothing is known of."""
    return without_site(table).assign(age=np.nan, sex="unknown")


def without_site(table: pd.DataFrame) -> pd.DataFrame:
    """A LesionTable that does not say where on the body."""
    return table.assign(site="unknown")


def site_alone(table: pd.DataFrame) -> pd.DataFrame:
    """A LesionTable that says nothing of the patient but where on the body."""
    return without_metadata(table).assign(site=table["site"])


KNOWN: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "age, sex and site": lambda table: table,
    "age and sex": without_site,
    "site": site_alone,
    "nothing": without_metadata,
}


def missing_metadata(
    run: Run,
    role: str,
    path: Path,
    *,
    data: Path | None = None,
    device: str = "auto",
    cache: Path | None = None,
) -> pd.DataFrame:
    """Score the images of a role with all, part and none of what is known of their patients.

    Args:
        run: with predictions of the role: those of the test role are there once it was opened.
        role: of its split.
        path: of the CSV to write.
        data: where the run's images are now; none takes the folder that it was trained on.
        device: as for `predict_table`.
        cache: as for `predict_table`.

    Returns:
        A row each of `KNOWN`: `metadata`, `role`, `images`, each of `MEASURES` with `…_low` and `…_high`; NaN
        where undefined. The first row is of the run's own predictions.

    Raises:
        UserError: the model takes no metadata, the run has no predictions of the role, or its images
            are not there.
    """
    saved = run.model()
    if saved.config.metadata == "none":
        raise UserError(f"the model of run {run.path} takes no metadata: it has no metadata branch")
    predictions = run.predictions()
    if role not in (known := predictions["role"].unique()):
        raise UserError(f"run {run.path} has no predictions of role {role}{nearest(role, known)}")
    own = predictions[predictions["role"] == role]
    table = run.table(data)
    split = run.split(table)
    of_role = table[table["image_id"].isin(split.ids(role))].reset_index(drop=True)
    rows = []
    for name, reduced in KNOWN.items():
        if reduced(of_role).equals(of_role):
            found = own
        else:
            found = _answered(saved, reduced(of_role), table, role, device=device, cache=cache)
        metrics = score(found, saved.classes, run.recipe.evaluation, described=saved.described)
        scores = metrics["roles"][role]
        rows.append({"metadata": name, "role": role, "images": scores["images"]} | _measured(scores))
    result = pd.DataFrame(rows)
    write_table(path, result)
    return result


def _answered(
    saved: SavedModel, rows: pd.DataFrame, of: pd.DataFrame, role: str, *, device: str, cache: Path | None
) -> pd.DataFrame:
    return predict_table(saved, rows, of=of, device=device, cache_root=cache).assign(role=role)


def _measured(scores: Mapping[str, Any]) -> dict[str, float]:
    """The measures of a role's scores, each with its interval; NaN where undefined."""
    found: dict[str, float] = {}
    for name, place in METADATA_MEASURES.items():
        value: Any = scores if place else sought_recall(scores)
        for key in place:
            value = value.get(key, {})
        for key, end in (("value", ""), ("low", "_low"), ("high", "_high")):
            known = value.get(key)
            found[f"{name}{end}"] = math.nan if known is None else known
    return found
