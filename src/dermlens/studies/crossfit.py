"""A cross-fit: every lesion but those of the test role is held out once, and scored unseen.

recipe.yaml       the recipe, resolved
fold-0/ …         a run directory each
predictions.csv   a run's columns and `fold`, every image once
crossfit.json     scores, folds, seconds, machine, seed, command, commit

By pairs of folds, `folds-0-1/ …` leave two out each: what the network of a pair says of one fold is a soft
label for a student that is scored on the other, as it saw neither. Such a cross-fit has no scores, and its
record is pairs.json.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, Unpack

import pandas as pd

from dermlens.data.manifest import Split
from dermlens.data.predictions import write_predictions
from dermlens.data.table import table_sha256
from dermlens.errors import UserError
from dermlens.evaluation.ledger import publish_recipe, publish_training, without_paths
from dermlens.files import read_json, write_json
from dermlens.recipe import Recipe, load_recipe
from dermlens.runs import Run, environment, taken_back
from dermlens.studies.folds import (
    NUMBER,
    check_fold,
    draw,
    fold_recipes,
    held_out,
    merge,
    read_out_of_fold,
    train_fold,
    unit_recipe,
    write_out_of_fold,
)
from dermlens.studies.scores import score_study
from dermlens.training.machine import Where

RECORD = "crossfit.json"
PREDICTIONS = "predictions.csv"
RECIPE = "recipe.yaml"
PAIR = "folds-"
PAIRS = "pairs.json"


def crossfit(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    folds: int = 5,
    only: Collection[int] | None = None,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Train the folds that are wanted and not there yet; once all are there, score their images.

    Args:
        recipe: of a grouped split.
        data: the data folder.
        out: the folder of the cross-fit; absent, empty, or of the same cross-fit, which goes on.
        folds: how many.
        only: folds to train now, so that long work fits into sittings; none for all.
        **where: see `Where`.

    Returns:
        The content of crossfit.json; without `roles`, and `status` partial, while folds are missing.

    Raises:
        UserError: the recipe, the table or the split does not allow it, or the folder is of something else.
        KeyboardInterrupt: with a sentence that says how to go on.
    """
    facts = train_folds(recipe, data, out, folds=folds, only=only, **where)
    if facts["status"] == "completed":
        facts |= score_study(read_out_of_fold(out / PREDICTIONS), recipe.evaluation)
        write_json(out / RECORD, facts)
    return facts


def crossfit_pairs(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    folds: int = 5,
    only: Collection[str] | None = None,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Train the pairs of folds that are wanted and not there yet, for soft labels within each fold.

    Args:
        recipe: as for `crossfit`.
        data: the data folder.
        out: the folder; absent, empty, or of the same pairs, which go on.
        folds: how many the lesions are cut into, at least three.
        only: pairs to train now, such as 0-1; none for all.
        **where: see `Where`.

    Returns:
        The content of pairs.json.

    Raises:
        UserError, KeyboardInterrupt: as `crossfit`.
    """
    pairs = {f"{a}-{b}": [a, b] for a, b in combinations(range(folds), 2)}
    if unknown := sorted(set(only or ()) - set(pairs)):
        raise UserError(f"pair {unknown[0]} is none of {', '.join(pairs)}")
    if folds == 2:
        raise UserError("two folds have one pair, which leaves nothing to train: take three or more")
    units = {
        f"{PAIR}{name}": unit_recipe(recipe, f"split.folds={folds}", f"split.fold={held}")
        for name, held in pairs.items()
    }
    wanted = None if only is None else [f"{PAIR}{name}" for name in pairs if name in only]
    facts, _ = train_units(recipe, units, data, out, record=out / PAIRS, only=wanted, **where)
    return facts


def train_folds(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    folds: int,
    only: Collection[int] | None = None,
    peeks: bool = False,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """As `crossfit`, without scores; `peeks` as for `fold_recipes`."""
    if unknown := sorted(set(only or ()) - set(range(folds))):
        raise UserError(f"fold {unknown[0]} is none of {folds}: folds count from 0 to {folds - 1}")
    recipes = fold_recipes(recipe, folds, peeks=peeks)
    units = {f"fold-{fold}": own for fold, own in enumerate(recipes)}
    wanted = None if only is None else [f"fold-{fold}" for fold in sorted(set(only))]
    facts, splits = train_units(recipe, units, data, out, record=out / RECORD, only=wanted, **where)
    if facts["status"] == "completed":
        parts = {fold: held_out(Run(out / name), splits[name]) for fold, name in enumerate(units)}
        write_out_of_fold(out / PREDICTIONS, merge(parts))
    return facts


def train_units(
    recipe: Recipe,
    units: Mapping[str, Recipe],
    data: Path,
    out: Path,
    *,
    record: Path,
    only: Collection[str] | None = None,
    **where: Unpack[Where],
) -> tuple[dict[str, Any], dict[str, Split]]:
    """Train the parts of a cross-fit that are wanted and not there yet.

    Args:
        recipe: what they have in common.
        units: the recipe of each, by the name of its folder within `out`.
        data: the data folder.
        out: of the cross-fit; absent, empty, or of the same recipe.
        record: the file that says how far they are, written before, between and after.
        only: folders to train now; none for all.
        **where: see `Where`.

    Returns:
        What the record says, and the split of each.

    Raises:
        UserError, KeyboardInterrupt: as `crossfit`.
    """
    table, drawn = draw(list(units.values()), data)
    splits = dict(zip(units, drawn, strict=True))
    runs = {name: Run(out / name) for name in units}
    with taken_back(out, lambda: any(run.record_file.is_file() for run in runs.values())):
        _begin(out, recipe)
        facts = _facts(recipe, table, drawn)
        for name, own in units.items():
            check_fold(runs[name], own, facts["table_sha256"])
        write_json(record, facts | _state(list(runs.values())))
        for name in units if only is None else only:
            train_fold(units[name], data, runs[name].path, **where)
            write_json(record, facts | _state(list(runs.values())))
    return facts | _state(list(runs.values())), splits


def publish_crossfit(out: Path, folder: Path) -> None:
    """Write what of a cross-fit may be published: predictions by image id, scores, recipe.

    Args:
        out: of the cross-fit, with all its folds.
        folder: to write to; files of the same names are replaced.

    Raises:
        UserError: folds are missing.
    """
    facts = read_json(out / RECORD)
    if "roles" not in facts:
        raise UserError(
            f"{out} lacks {', '.join(facts['missing'])}: `dermlens study crossfit` goes on with them"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_out_of_fold(folder / f"{PREDICTIONS}.gz", read_out_of_fold(out / PREDICTIONS))
    write_json(folder / RECORD, without_paths(facts))
    publish_recipe(Run(out / "fold-0"), folder)


def publish_pairs(out: Path, folder: Path) -> None:
    """Write predictions, recipes and histories of a cross-fit by pairs, as far as it is there."""
    facts = read_json(out / PAIRS)
    for name, facts_of_pair in facts["folds"].items():
        if facts_of_pair["status"] == "completed":
            run, copy = Run(out / name), Run(folder / name)
            copy.path.mkdir(parents=True, exist_ok=True)
            scored = run.predictions().query("role == 'selection'").reset_index(drop=True)
            write_predictions(copy.path / "predictions.csv.gz", scored)
            publish_training(run, copy)
    write_json(folder / PAIRS, without_paths(facts))
    publish_recipe(Run(out), folder)


def _begin(out: Path, recipe: Recipe) -> None:
    """Make the folder, or find it to be one of ours."""
    if (out / RECIPE).is_file():
        if load_recipe(str(out / RECIPE)) != recipe:
            raise UserError(f"{out} is of another recipe: name a new folder with --out")
        return
    if out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise UserError(f"{out} is not empty and no cross-fit: name a new folder with --out")
    recipe.save(out / RECIPE)


def _facts(recipe: Recipe, table: pd.DataFrame, splits: Sequence[Split]) -> dict[str, Any]:
    """What is known before training."""
    header = {key: value for key, value in splits[0].header.items() if key not in ("fold", "left-out")}
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "command": sys.argv[1:],
        **environment(),
        "table_sha256": table_sha256(table),
        "split": header,
        "warnings": _warnings(recipe),
    }


def _warnings(recipe: Recipe) -> list[str]:
    """What a reader must know of the numbers."""
    changes = []
    if recipe.train.keep != "last":
        changes.append(f"train.keep {recipe.train.keep} became last: a scored fold chooses no epoch")
    taught = recipe.train.distillation
    if taught is not None and NUMBER in taught.soft_labels:
        changes.append("each fold has soft labels of its own: their teachers must not have seen that fold")
    elif taught is not None:
        changes.append(
            "the teachers of the soft labels had the labels of other folds, mostly of the scored one too:"
            " the scores may flatter the student"
        )
    return changes


def _state(runs: Sequence[Run]) -> dict[str, Any]:
    """How far each fold is, and how long it took."""
    folds = {run.path.name: _fold_facts(run) for run in runs if run.record_file.is_file()}
    done = [name for name, found in folds.items() if found["status"] == "completed"]
    return {
        "status": "completed" if len(done) == len(runs) else "partial",
        "seconds": round(sum(found["seconds"] for found in folds.values()), 1),
        "folds": folds,
        "missing": [run.path.name for run in runs if run.path.name not in done],
    }


def _fold_facts(run: Run) -> dict[str, Any]:
    record = run.read_record().model_dump(exclude_unset=True)
    history = run.history()
    seconds = 0.0 if history is None else history["seconds"].sum()
    kept = ("status", "started", "ended", "epochs", "git_commit", "machine", "device", "threads")
    return {name: record[name] for name in kept if name in record} | {"seconds": round(float(seconds), 1)}
