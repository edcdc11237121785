"""A trained arm's images, scored again with part of the metadata, none, or those of another patient.

What changes is what the network is told when it predicts; it was trained with all that is known. A wrong age,
sex or site is that of another lesion of the same fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.data.shuffled import FIELDS, shuffled_metadata
from dermlens.data.split import load_manifest
from dermlens.data.table import read_configured
from dermlens.models.saved import load_model
from dermlens.studies.folds import held_out
from dermlens.studies.out_of_fold import merge
from dermlens.studies.paper.folds_of import folds_of
from dermlens.training.predict import predict_table

UNKNOWN: Mapping[str, float | str] = {"age": np.nan, "sex": "unknown", "site": "unknown"}
SEED = 0


def _missing(*names: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def missing(table: pd.DataFrame) -> pd.DataFrame:
        told = table.copy()
        for name in names:
            told[name] = UNKNOWN[name]
        return told

    return missing


def _wrong(*names: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: shuffled_metadata(table, SEED, names)


TOLD: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "told_nothing": _missing(*FIELDS),
    "told_age_only": _missing("sex", "site"),
    "told_sex_only": _missing("age", "site"),
    "told_site_only": _missing("age", "sex"),
    "told_age_missing": _missing("age"),
    "told_sex_missing": _missing("sex"),
    "told_site_missing": _missing("site"),
    "told_age_wrong": _wrong("age"),
    "told_sex_wrong": _wrong("sex"),
    "told_site_wrong": _wrong("site"),
    "told_wrong": _wrong(*FIELDS),
}
"""Name → what a fold's table becomes."""


def told(
    arm: Path,
    data: Path,
    *,
    device: str = "auto",
    cache: Path | None = None,
    ways: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = TOLD,
) -> dict[str, pd.DataFrame]:
    """Out-of-fold probabilities under every way of telling.

    Args:
        arm: the folder of a cross-fit whose networks read metadata.
        data: the data folder.
        device: as for `predict_table`.
        cache: likewise.
        ways: name → what becomes of a table.

    Returns:
        A table each, one row an image that the arm scores.

    Raises:
        UserError: a fold is not there, or the data are not those of the arm.
    """
    runs = folds_of(arm)
    table = read_configured(data, runs[0].recipe().data)
    parts: dict[str, dict[int, pd.DataFrame]] = {name: {} for name in ways}
    for fold, run in enumerate(runs):
        saved = load_model(run.path)
        split = load_manifest(str(run.split_file), table, remedy="name the arm's own data by --data")
        scored = held_out(run, split)
        rows = table.set_index("image_id", drop=False).loc[scored["image_id"]].reset_index(drop=True)
        for name, way in ways.items():
            found = predict_table(saved, way(rows), of=table, device=device, cache_root=cache)
            parts[name][fold] = scored.assign(**{f"p_{code}": found[f"p_{code}"] for code in saved.classes})
    return {name: merge(folds) for name, folds in parts.items()}
