"""The predictions of an ablation as they are kept: truth once, and for each arm ids and probabilities."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from dermlens.errors import UserError
from dermlens.evaluation.predictions import SUM_TOLERANCE, classes_of, write_csv
from dermlens.studies.out_of_fold import FOLD, ROLE

IMAGES = "images.csv.gz"
TRUTH = ("image_id", "lesion_id", "target", FOLD)
DIGITS = 5


def write_images(folder: Path, table: pd.DataFrame) -> None:
    """Write what all arms share: image, lesion, diagnosis and fold."""
    write_csv(folder / IMAGES, table[list(TRUTH)], digits=DIGITS)


def write_arm(folder: Path, arm: str, table: pd.DataFrame) -> None:
    """Write an arm's probabilities to five significant digits: small ones stay, and the file is small."""
    columns = ["image_id", *(f"p_{code}" for code in classes_of(table))]
    write_csv(_file(folder, arm), table[columns], digits=DIGITS)


def read_images(folder: Path) -> pd.DataFrame:
    """What all arms share, as text. Raises: UserError: the file is missing or damaged."""
    return _read(folder / IMAGES, TRUTH)


def read_tables(folder: Path, arms: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Out-of-fold predictions by arm.

    Raises:
        UserError: a file is missing or damaged, or is not of the images of the others.
    """
    images = read_images(folder)
    tables = {}
    for arm in arms:
        path = _file(folder, arm)
        found = _read(path, ("image_id",))
        classes = classes_of(found)
        if found["image_id"].tolist() != images["image_id"].tolist():
            raise UserError(f"{path} is not of the images of {folder / IMAGES}, row by row")
        p_NC = found[[f"p_{code}" for code in classes]].apply(pd.to_numeric, errors="coerce").to_numpy()
        wrong = ~((p_NC >= 0).all(axis=1) & (np.abs(p_NC.sum(axis=1) - 1) < SUM_TOLERANCE))
        if wrong.any():
            raise UserError(f"{path}, row {int(wrong.argmax()) + 2}: the probabilities do not sum to 1")
        if not images["target"].isin(classes).all():
            raise UserError(f"{path} has no probabilities of some diagnoses of {folder / IMAGES}")
        columns = {f"p_{code}": p_NC[:, index] for index, code in enumerate(classes)}
        tables[arm] = images.assign(role=ROLE, fold=images[FOLD].astype(int), **columns)
    return tables


def _file(folder: Path, arm: str) -> Path:
    return folder / "predictions" / f"{arm}.csv.gz"


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} does not exist; restore it, or run `dermlens ablate` again")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} is not a compressed CSV table: {error}") from error
    if missing := [name for name in columns if name not in table.columns]:
        raise UserError(f"{path} has no column {missing[0]}")
    return table
