"""The folds of a recipe: the same run several times, other lesions held out each time."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd

from dermlens.data.manifest import HOME, Split, load_manifest
from dermlens.data.predictions import AFTER, BEFORE, SUM_TOLERANCE, classes_of, read_predictions, write_csv
from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured, table_sha256
from dermlens.errors import UserError
from dermlens.recipe import Recipe, parse_recipe
from dermlens.runs import Run
from dermlens.training.fit import fit, resume_fit
from dermlens.training.machine import Where

NUMBER = "{fold}"
"""Stands for the number of the fold in the path of a file that each fold has of its own."""


def fold_recipes(recipe: Recipe, folds: int, *, peeks: bool = False) -> list[Recipe]:
    """A recipe for each fold, as `unit_recipe` makes it.

    Args:
        recipe: any recipe of a grouped split.
        folds: how many.
        peeks: as for `unit_recipe`.
    """
    return [
        unit_recipe(recipe, f"split.folds={folds}", f"split.fold={fold}", peeks=peeks)
        for fold in range(folds)
    ]


def unit_recipe(recipe: Recipe, *held: str, peeks: bool = False) -> Recipe:
    """A recipe of one part of a cross-fit, which chooses nothing on the images that it is scored on.

    In `model.weights` and `train.distillation.soft_labels`, `{fold}` becomes the number of the fold: that of
    a second stage begins where the same fold of the first ended.

    Args:
        recipe: any recipe of a split by lesion.
        held: overrides that say which images are scored.
        peeks: choose the epoch by accuracy on the very images that are scored, to show what that is worth.

    Returns:
        The recipe; it keeps its last epoch and monitors no role, unless it peeks.

    Raises:
        UserError: the recipe watches held-out images to stop or to lower its rate.
    """
    watched = {
        "train.early_stopping": recipe.train.early_stopping is not None,
        "train.schedule.kind plateau": recipe.train.schedule.kind == "plateau",
    }
    for key, watches in watched.items():
        if watches:
            raise UserError(
                f"recipe {recipe.name}: {key} looks at the images that a cross-fit scores, which must choose"
                " nothing: leave it out (--set train.early_stopping=null, train.schedule.kind=cosine)"
            )
    keep, monitored = ("val_accuracy", "selection") if peeks else ("last", "none")
    settled = (f"train.keep={keep}", f"train.monitor_role={monitored}", *held)
    unit = parse_recipe(recipe.dump(), f"recipe {recipe.name}", settled)
    if unit.split.folds is None:
        return unit
    files = {"model.weights": unit.model.weights}
    if unit.train.distillation is not None:
        files["train.distillation.soft_labels"] = unit.train.distillation.soft_labels
    number = "-".join(map(str, unit.split.held_folds))
    of_fold = [f"{key}={path.replace(NUMBER, number)}" for key, path in files.items() if NUMBER in path]
    return parse_recipe(unit.dump(), f"recipe {recipe.name}", of_fold)


def draw(recipes: Sequence[Recipe], data: Path) -> tuple[pd.DataFrame, list[Split]]:
    """The table and each fold's split, checked against the sealed test role.

    Args:
        recipes: of the folds.
        data: the data folder.

    Raises:
        UserError: the table or the split does not allow it, or the folds hold sealed test images.
    """
    table = read_configured(data, recipes[0].data)
    splits = [resolve_split(table, recipe.split, siblings=recipe.paper.siblings) for recipe in recipes]
    check_sealed(table, splits[0])
    return table, splits


def check_sealed(table: pd.DataFrame, split: Split) -> None:
    """Keep the images of grouped-v1's test role out of every fold.

    Raises:
        UserError: one of them is in a fold; or the table is HAM10000, and its test role is another.
    """
    sealed = load_manifest(HOME)
    theirs, ours = set(sealed.ids("test")), set(split.ids("test"))
    opened = theirs & (set(split.roles["image_id"]) - ours)
    same_table = sealed.header["table-sha256"] == table_sha256(table)
    if opened or (same_table and ours != theirs):
        raise UserError(
            f"the split's test role is not that of {HOME}, whose test images no study may look at"
            f" ({len(opened)} of {len(theirs)} would be in folds): set split.manifest={HOME}, or"
            " protocol grouped with its seed and share of test"
        )


def train_fold(recipe: Recipe, data: Path, folder: Path, **where: Unpack[Where]) -> Run:
    """Train one fold, go on with it, or leave it as it is if it is completed.

    Args:
        recipe: of the fold.
        data: the data folder.
        folder: its run directory.
        **where: see `Where`.

    Raises:
        UserError: the folder holds a run of another recipe, or as for `fit`.
        KeyboardInterrupt: with a sentence that says how to go on.
    """
    run = Run(folder)
    try:
        if not run.record_file.is_file():
            # A kill between folder and record leaves a folder that is no run.
            shutil.rmtree(folder, ignore_errors=True)
            print(f"{folder}: training")
            return fit(recipe, data, out=folder, **where)
        if run.is_completed:
            return run
        print(f"{folder}: going on")
        return resume_fit(folder, data=data, **where)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(
            f"{folder} was interrupted; the same command goes on where it stopped"
        ) from error


def check_fold(run: Run, recipe: Recipe, table_hash: str) -> None:
    """See that what is there of a fold is of this recipe and this table, before anything is written.

    Args:
        run: the fold's, begun or not.
        recipe: of the fold.
        table_hash: SHA-256 of the table that all folds share.

    Raises:
        UserError: it is of another.
    """
    if not run.record_file.is_file():
        return
    if run.recipe != recipe:
        raise UserError(f"{run.path} is of another recipe or number of folds: name a new folder with --out")
    if run.read_record().table_sha256 not in (None, table_hash):
        raise UserError(f"{run.path} was trained on another table: name its data, or a new folder with --out")


def held_out(run: Run, split: Split) -> pd.DataFrame:
    """What a completed fold says of its held-out images.

    Args:
        run: the fold's.
        split: the fold's.

    Raises:
        UserError: its predictions are not of the fold's images.
    """
    predictions = run.predictions()
    predictions = predictions[predictions["role"] == "selection"]
    if set(predictions["image_id"]) != set(split.ids("selection")):
        raise UserError(
            f"{run.predictions_file} is not of the {len(split.ids('selection'))} images of its fold: restore"
            f" it, or delete {run.path} to train the fold again"
        )
    return predictions


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
            f"{path} has no column {FOLD}: out-of-fold predictions are what `dermlens study crossfit` writes"
        )
    fold = pd.read_csv(path, usecols=[FOLD], dtype=str, keep_default_na=False)[FOLD]
    bad_N = ~fold.str.fullmatch(r"\d+").to_numpy(dtype=bool)
    if bad_N.any():
        row = int(bad_N.argmax())
        raise UserError(f"{path}, row {row + 2}: fold is {fold[row]!r}; it must be a number from 0")
    return table.assign(fold=fold.astype(int))


# The predictions of an ablation as they are kept: truth once, and for each arm ids and probabilities.


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
        raise UserError(f"{path} does not exist; restore it, or publish the study again")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (gzip.BadGzipFile, EOFError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} is not a compressed CSV table: {error}") from error
    if missing := [name for name in columns if name not in table.columns]:
        raise UserError(f"{path} has no column {missing[0]}")
    return table
