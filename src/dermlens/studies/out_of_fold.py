"""Predictions by networks that never saw the images: a run's table with a column `fold`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from dermlens.errors import UserError
from dermlens.evaluation.predictions import AFTER, BEFORE, classes_of, read_predictions, write_csv

ROLE = "out_of_fold"
FOLD = "fold"


def merge(parts: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """One table of the scored images of several folds, by image id.

    Args:
        parts: predictions by the fold that they are of; no image is in two.

    Returns:
        All rows, `role` out_of_fold, with their `fold`.
    """
    labelled = [part.assign(role=ROLE, fold=fold) for fold, part in parts.items()]
    table = pd.concat(labelled, ignore_index=True).sort_values("image_id", ignore_index=True)
    assert not table["image_id"].duplicated().any(), "an image is in one fold"
    return table


def write_out_of_fold(path: Path, table: pd.DataFrame) -> None:
    """Write predictions with their fold, whole or not at all, to nine digits as a run's are."""
    columns = [*BEFORE, *(f"p_{code}" for code in classes_of(table)), *AFTER, FOLD]
    write_csv(path, table[columns], digits=9)


def read_out_of_fold(path: Path) -> pd.DataFrame:
    """Read predictions with their fold.

    Raises:
        UserError: as for `read_predictions`, or a row has no fold.
    """
    table = read_predictions(path)
    if FOLD not in pd.read_csv(path, nrows=0).columns:
        raise UserError(
            f"{path} has no column {FOLD}: out-of-fold predictions are what `dermlens crossfit` writes"
        )
    fold = pd.read_csv(path, usecols=[FOLD], dtype=str, keep_default_na=False)[FOLD]
    bad_N = ~fold.str.fullmatch(r"\d+").to_numpy(dtype=bool)
    if bad_N.any():
        row = int(bad_N.argmax())
        raise UserError(f"{path}, row {row + 2}: fold is {fold[row]!r}; it must be a number from 0")
    return table.assign(fold=fold.astype(int))
