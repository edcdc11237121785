"""An ablation: every arm of a matrix cross-fitted on the same folds, from the same start, at one budget."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import pandas as pd

from dermlens.data.predictions import write_csv
from dermlens.errors import UserError, nearest
from dermlens.evaluation.ledger import without_paths
from dermlens.files import copy_file, read_json, write_json, write_text
from dermlens.recipe import Recipe
from dermlens.runs import Run, environment, taken_back
from dermlens.sections import EvaluationConfig
from dermlens.studies.ablation_page import render_page, save_differences
from dermlens.studies.crossfit import PREDICTIONS, train_folds
from dermlens.studies.folds import (
    FOLD,
    IMAGES,
    fold_recipes,
    read_images,
    read_out_of_fold,
    read_tables,
    write_arm,
    write_images,
)
from dermlens.studies.matrix import Matrix, budgeted, epoch_size, parse_matrix, updated_matrix
from dermlens.studies.scores import compare_arms
from dermlens.training.inputs import RolePlan, read_role_plan
from dermlens.training.machine import Where

# matrix.yaml        the matrix
# arms/<arm>/        a cross-fit each
# What can be published, and from which all scores can be computed again:
# ablation.json      matrix, recipes, budget, seconds, machine, command, commits
# images.csv.gz      image_id, lesion_id, target, fold
# predictions/       <arm>.csv.gz: image_id, p_<class>… to five digits
# histories.csv      arm, fold, and what a run's history.csv says of each epoch
# ablation.csv       every number, with intervals and the paired difference to the baseline
# README.md          the table for a reader
# differences.png    the differences as a picture


RECORD = "ablation.json"
TABLE = "ablation.csv"
HISTORIES = "histories.csv"
EPOCH = ("arm", "fold", "epoch")
"""What names a row of the histories."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An arm, before it is trained.

    Attributes:
        recipe: within the budget.
        images: that each of its trainings sees.
    """

    recipe: Recipe
    images: int


def ablate(
    matrix: Matrix,
    data: Path,
    out: Path,
    *,
    only: Collection[str] | None = None,
    **where: Unpack[Where],
) -> pd.DataFrame | None:
    """Train the arms that are wanted and not there yet; score all that are there.

    Args:
        matrix: of the ablation.
        data: the data folder.
        out: the folder of the ablation; absent, empty, or of the same ablation, which goes on.
        only: arms to train now; none for all.
        **where: see `Where`.

    Returns:
        The table, as ablation.csv has it; none while the baseline is not there.

    Raises:
        UserError: an arm's recipe, the table or the split does not allow it; no arm has been trained then.
        KeyboardInterrupt: with a sentence that says how to go on.
    """
    if unknown := [name for name in only or () if name not in matrix.arms]:
        raise UserError(
            f"arm {unknown[0]} is none of the matrix {matrix.name}{nearest(unknown[0], matrix.arms)}"
        )
    with taken_back(out, lambda: any(out.glob("arms/*/fold-*/run.json"))):
        plans = begin(matrix, data, out)
        for name in matrix.names if only is None else [name for name in matrix.names if name in only]:
            train_arm(matrix, plans[name], name, data, out, **where)
    if not gather(matrix, plans, out) or not is_trained(out / "arms" / matrix.baseline):
        return None
    return rescore(out)


def begin(matrix: Matrix, data: Path, out: Path) -> dict[str, Plan]:
    """Make the folder of an ablation, or go on with it, perhaps with other arms; every arm is checked first.

    Args, Raises: as for `ablate`.

    Returns:
        What each arm is going to be.
    """
    plans = _plans(matrix, data)
    path = out / "matrix.yaml"
    if path.is_file():
        begun = parse_matrix(path.read_text(encoding="utf-8"), str(path), stored=True)
        if begun == matrix:
            return plans
        if changed := [name for name, arm in matrix.arms.items() if begun.arms.get(name, arm) != arm]:
            raise UserError(f"{out}: arm {changed[0]} was another: give it a new name, or name a new --out")
        if begun.model_copy(update={"arms": matrix.arms}) != matrix:
            raise UserError(f"{out} is of another matrix: name a new folder with --out")
    elif out.exists() and any(not entry.name.startswith(".") for entry in out.iterdir()):
        raise UserError(f"{out} is not empty and no ablation: name a new folder with --out")
    write_text(path, matrix.dump())
    return plans


def train_arm(matrix: Matrix, plan: Plan, name: str, data: Path, out: Path, **where: Unpack[Where]) -> None:
    """Train what is missing of an arm. Args, Raises: as for `ablate`."""
    train_folds(
        plan.recipe,
        data,
        out / "arms" / name,
        folds=matrix.folds,
        peeks=matrix.arms[name].peeks,
        **where,
    )


def rescore(folder: Path) -> pd.DataFrame:
    """Compute table, page and picture from the predictions of an ablation's folder, published or not.

    Raises:
        UserError: the folder is none, or its predictions are not whole.
    """
    record = read_record(folder)
    table = score_folder(folder)
    write_csv(folder / TABLE, table, digits=6)
    rounded = pd.read_csv(folder / TABLE)  # a page of other digits than the table's could not be made again
    write_text(folder / "README.md", render_page(record, rounded))
    save_differences(table, record["matrix"]["baseline"], folder / "differences.png")
    return table


def score_folder(folder: Path, arms: Collection[str] | None = None) -> pd.DataFrame:
    """The table of an ablation, from its predictions.

    Args:
        folder: of the ablation, or a published one.
        arms: that shall be in it, the baseline among them; none for all.

    Raises:
        UserError: as for `rescore`.
    """
    record = read_record(folder)
    wanted = [name for name in record["arms"] if arms is None or name in arms]
    return compare_arms(read_tables(folder, wanted), EvaluationConfig(**record["bootstrap"]))


def publish(out: Path, folder: Path) -> None:
    """Write what of an ablation may be published: ids and numbers, no weights, no pictures of patients.

    Args:
        out: of the ablation, with whichever of its arms are trained there.
        folder: to write to; arms that it has and `out` has not stay, so several machines may share the work.

    Raises:
        UserError: neither has the baseline, or what is published is of another matrix or of other images.
    """
    record, epochs = read_record(out), pd.read_csv(out / HISTORIES)
    matrix, ours = record["matrix"], list(record["arms"])
    if (folder / RECORD).is_file():
        earlier = read_record(folder)
        _check_same(record, earlier, out, folder)
        stay = [name for name in earlier["arms"] if name not in ours and name in matrix["arms"]]
        record["arms"] |= {name: earlier["arms"][name] for name in stay}
        before = pd.read_csv(folder / HISTORIES)
        epochs = pd.concat([epochs, before[before["arm"].isin(stay)]], ignore_index=True)
    if matrix["baseline"] not in record["arms"]:
        raise UserError(f"{out}: the baseline is not trained, and the tables are differences to it")
    names = sorted(matrix["arms"], key=lambda name: name != matrix["baseline"])
    record["missing"] = [name for name in names if name not in record["arms"]]
    record["arms"] = {name: record["arms"][name] for name in names if name in record["arms"]}
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    for name in (IMAGES, *(f"predictions/{arm}.csv.gz" for arm in ours)):
        copy_file(out / name, folder / name)
    write_csv(folder / HISTORIES, epochs.sort_values(list(EPOCH)), digits=6)
    write_json(folder / RECORD, record)
    rescore(folder)


def _check_same(record: Mapping[str, Any], earlier: Mapping[str, Any], out: Path, folder: Path) -> None:
    """Refuse to mix arms of several matrices, or that were scored on several sets of images."""
    ours, theirs = dict(record["matrix"]), dict(earlier["matrix"])
    arms, published = ours.pop("arms"), theirs.pop("arms")
    changed = [name for name in earlier["arms"] if name in arms and arms[name] != published[name]]
    if ours != theirs or changed:
        raise UserError(f"{folder} is of another matrix than {out}: publish to another folder")
    if not read_images(out).equals(read_images(folder)):
        raise UserError(f"{folder} is of other images than {out}: publish to another folder")


def read_record(folder: Path) -> dict[str, Any]:
    """The facts of an ablation. Raises: UserError when there are none."""
    path = folder / RECORD
    if not path.is_file():
        raise UserError(f"{folder} has no {RECORD}: it is no ablation, or its baseline is not trained yet")
    record = read_json(path)
    matrix = record.get("matrix")
    return record | {"matrix": updated_matrix(matrix)} if isinstance(matrix, dict) else record


def is_trained(arm: Path) -> bool:
    """Whether all folds of an arm's folder are there."""
    return (arm / PREDICTIONS).is_file()


def _plans(matrix: Matrix, data: Path) -> dict[str, Plan]:
    """Every arm's recipe within the budget: a mistake in the last is reported before the first trains."""
    plans: dict[str, Plan] = {}
    read: dict[str, RolePlan] = {}
    for name in matrix.names:
        recipe = matrix.recipe_of(name)
        fold = fold_recipes(recipe, matrix.folds, peeks=matrix.arms[name].peeks)[0]
        # Reading looks at the content of every image, and arms seldom differ in their data.
        if (asked := _asked(recipe)) not in read:
            read[asked] = read_role_plan(fold, data)
            first = read[next(iter(read))]
            if read[asked].split.ids("selection") != first.split.ids("selection"):
                raise UserError(
                    f"arm {name} scores other images than {matrix.baseline}: set paper.siblings for all arms"
                    " or for none"
                )
        size = epoch_size(fold, read[asked])
        within = budgeted(fold, size, matrix.images).model_copy(update={"split": recipe.split})
        plans[name] = Plan(within, within.train.epochs * size)
    return plans


def _asked(recipe: Recipe) -> str:
    """What decides which images have which role."""
    return f"{recipe.data.model_dump_json()} {recipe.split.model_dump_json()} {recipe.paper.siblings}"


def gather(matrix: Matrix, plans: Mapping[str, Plan], out: Path) -> bool:
    """Copy the predictions of the trained arms, and what is known of them, to what can be published.

    Returns:
        Whether any is trained.
    """
    done = [name for name in matrix.names if is_trained(out / "arms" / name)]
    if not done:
        return False
    tables = {name: read_out_of_fold(out / "arms" / name / PREDICTIONS) for name in done}
    first = tables[done[0]]
    for name, table in tables.items():
        if not table[["image_id", "target", FOLD]].equals(first[["image_id", "target", FOLD]]):
            raise UserError(f"{out}: arm {name} has other images, diagnoses or folds than {done[0]}")
        write_arm(out, name, table)
    write_images(out, first)
    write_csv(out / HISTORIES, _histories(out, done), digits=6)
    config = plans[matrix.baseline].recipe.evaluation
    write_json(
        out / RECORD,
        {
            "matrix": without_paths(matrix.model_dump(mode="json")),
            **environment(),
            "images": len(first),
            "lesions": int(first["lesion_id"].nunique()),
            "bootstrap": {"bootstrap": config.bootstrap, "level": config.level, "seed": config.seed},
            "missing": [name for name in matrix.names if name not in done],
            "arms": {name: _arm_facts(out / "arms" / name, plans[name]) for name in done},
        },
    )
    return True


def _histories(out: Path, arms: Sequence[str]) -> pd.DataFrame:
    """Every epoch of every training."""
    found = []
    for arm in arms:
        for folder in (out / "arms" / arm).glob("fold-*"):
            history = pd.read_csv(Run(folder).history_file)
            found.append(history.assign(arm=arm, fold=int(folder.name.removeprefix("fold-"))))
    epochs = pd.concat(found, ignore_index=True)
    return epochs[[*EPOCH, *epochs.columns.difference(list(EPOCH), sort=False)]].sort_values(list(EPOCH))


def _arm_facts(folder: Path, plan: Plan) -> dict[str, Any]:
    facts = read_json(folder / "crossfit.json")
    return {
        "epochs": plan.recipe.train.epochs,
        "images_seen": plan.images,
        "seconds": facts["seconds"],
        "commits": sorted({str(fold.get("git_commit")) for fold in facts["folds"].values()}),
        "table_sha256": facts["table_sha256"],
        "recipe": without_paths(plan.recipe.model_dump(mode="json")),
    }


def folds_of(arm: Path) -> list[Run]:
    """The runs of a cross-fit's folder, in the order of its folds.

    Raises:
        UserError: it is none, or not all of its folds are trained.
    """
    if not is_trained(arm):
        raise UserError(f"{arm} is not trained yet: its folds come first")
    found = sorted(arm.glob("fold-*"), key=lambda folder: int(folder.name.removeprefix("fold-")))
    return [Run(folder) for folder in found]
