"""The folds of a recipe: the same run several times, other lesions held out each time, never of test."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dermlens.data.manifest import HOME
from dermlens.data.split import Split, load_manifest, resolve_split
from dermlens.data.table import read_configured, table_sha256
from dermlens.errors import UserError
from dermlens.evaluation.predictions import read_predictions
from dermlens.recipe import Recipe, parse_recipe
from dermlens.runs import Run
from dermlens.training.fit import fit, resume_fit


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
    return parse_recipe(recipe.dump(), f"recipe {recipe.name}", settled)


def draw(recipes: Sequence[Recipe], data: Path) -> tuple[pd.DataFrame, list[Split]]:
    """The table and each fold's split, checked against the sealed test role.

    Args:
        recipes: of the folds.
        data: the data folder.

    Raises:
        UserError: the table or the split does not allow it, or the folds hold sealed test images.
    """
    table = read_configured(data, recipes[0].data)
    splits = [resolve_split(table, recipe.split) for recipe in recipes]
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


def train_fold(recipe: Recipe, data: Path, folder: Path, *, device: str, cache: Path | None) -> Run:
    """Train one fold, go on with it, or leave it as it is if it is completed.

    Args:
        recipe: of the fold.
        data: the data folder.
        folder: its run directory.
        device: as for `fit`.
        cache: as for `fit`.

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
            return fit(recipe, data, out=folder, device=device, cache=cache)
        if run.read_record()["status"] == "completed":
            return run
        print(f"{folder}: going on")
        return resume_fit(folder, data=data, device=device, cache=cache)
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
    if run.recipe() != recipe:
        raise UserError(f"{run.path} is of another recipe or number of folds: name a new folder with --out")
    if run.read_record().get("table_sha256", table_hash) != table_hash:
        raise UserError(f"{run.path} was trained on another table: name its data, or a new folder with --out")


def held_out(run: Run, split: Split) -> pd.DataFrame:
    """What a completed fold says of its held-out images.

    Args:
        run: the fold's.
        split: the fold's.

    Raises:
        UserError: its predictions are not of the fold's images.
    """
    predictions = read_predictions(run.predictions_file)
    predictions = predictions[predictions["role"] == "selection"]
    if set(predictions["image_id"]) != set(split.ids("selection")):
        raise UserError(
            f"{run.predictions_file} is not of the {len(split.ids('selection'))} images of its fold: restore"
            f" it, or delete {run.path} to train the fold again"
        )
    return predictions
