"""Near strangers: a class is left out of the training, and its images must stand out to the network.

without-<class>/      a run directory each
data-without-<class>/, split-without-<class>.csv      what it was trained on
near_ood.csv          the rows of `stranger_table`, the class left out as `set`
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from dermlens.atomic import write_text
from dermlens.data.split import Split, load_manifest, resolve_split
from dermlens.data.table import read_configured, table_sha256
from dermlens.errors import UserError, nearest
from dermlens.evaluation.calibrate import FITTED, label_outputs, run_outputs
from dermlens.evaluation.decision_report import write_table
from dermlens.evaluation.strangers import stranger_table
from dermlens.models.saved import load_model
from dermlens.recipe import Recipe, parse_recipe
from dermlens.runs import Run
from dermlens.studies.folds import check_fold, check_sealed, train_fold

TABLE = "near_ood.csv"
COLUMNS = {"site": "localization"}


@dataclass(frozen=True, slots=True)
class _Without:
    """A training without a class.

    Attributes:
        code: the class.
        recipe: of the training.
        folder: for the table of the others, and the images by a link.
        table: of the others.
        split: of the others.
        run: where it is trained.
    """

    code: str
    recipe: Recipe
    folder: Path
    table: pd.DataFrame
    split: Split
    run: Run


def near_ood(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    classes: Sequence[str] | None = None,
    device: str = "auto",
    cache: Path | None = None,
) -> pd.DataFrame:
    """Train the recipe without each class in turn and score the images of that class as strangers.

    Familiar are the images of the selection role. Images of the test role are looked at by nothing.

    Args:
        recipe: with train, selection and calibration roles; one that is quick to train.
        data: the data folder.
        out: a folder for the runs; completed ones of the same recipe and data are not trained again.
        classes: to leave out now; none for all of the recipe's.
        device: as for `fit`.
        cache: likewise.

    Returns:
        The rows of `stranger_table` for every class that has been left out so far.

    Raises:
        UserError: a class is not of the recipe, the recipe learns from more than the table, the split opens
            sealed test images, `out` holds runs of another recipe or split or rows whose runs are gone, or as
            for `fit`.
    """
    wanted = tuple(classes or recipe.data.classes)
    for code in wanted:
        if code not in recipe.data.classes:
            raise UserError(f"class {code} is not one of the recipe's{nearest(code, recipe.data.classes)}")
    if recipe.data.also_train or recipe.train.distillation is not None:
        raise UserError(
            "further images and soft labels know the class that is left out: leave them out too"
            " (--set data.also_train=[] --set train.distillation=null)"
        )
    table = read_configured(data, recipe.data)
    split = resolve_split(table, recipe.split)
    check_sealed(table, split)
    trainings = {code: _without(code, recipe, table, split, out) for code in recipe.data.classes}
    for one in trainings.values():  # the others too, whose rows stand in the table already
        _check(one)
    rows = _known(out, wanted, recipe.data.classes)
    for code in wanted:
        one = trainings[code]
        _write(one, data)
        run = train_fold(one.recipe, one.folder, one.run.path, device=device, cache=cache)
        saved = load_model(run.path)
        found = run_outputs(run, saved, FITTED, device=device, cache=cache)
        unsealed = table["image_id"].isin([image for role in FITTED for image in split.ids(role)])
        left_out = table[(table["dx"] == one.code) & unsealed].reset_index(drop=True)
        train, familiar, calibration = (found[role].labelled for role in FITTED)
        strangers = {one.code: label_outputs(saved, left_out, of=table, device=device, cache=cache)}
        rows.append(stranger_table(train, calibration, familiar, strangers))
        write_table(out / TABLE, pd.concat(rows, ignore_index=True))
    return pd.concat(rows, ignore_index=True)


def _known(out: Path, wanted: Sequence[str], classes: Sequence[str]) -> list[pd.DataFrame]:
    """The rows of classes that were left out before and are not asked for now; of runs that were checked."""
    if not (out / TABLE).is_file():
        return []
    known = pd.read_csv(out / TABLE)
    known = known[~known["set"].isin(wanted)]
    for code in known["set"].unique():
        run = Run(out / f"without-{code}")
        done = run.record_file.is_file() and run.read_record().get("status") == "completed"
        if code not in classes or not done:
            raise UserError(
                f"{out / TABLE} has rows of {code}, of which {run.path} is no completed run of this recipe:"
                " name a new folder with --out"
            )
    return [known]


def _without(code: str, recipe: Recipe, table: pd.DataFrame, split: Split, out: Path) -> _Without:
    """The training without a class; nothing is written."""
    kept = table[table["dx"] != code].reset_index(drop=True)
    roles = split.roles[split.roles["image_id"].isin(kept["image_id"])].reset_index(drop=True)
    manifest = out / f"split-without-{code}.csv"
    own = parse_recipe(_recipe_text(code, recipe, manifest), f"recipe {recipe.name} without {code}")
    return _Without(
        code=code,
        recipe=own,
        folder=out / f"data-without-{code}",
        table=kept,
        split=Split(roles, split.header | {"table-sha256": table_sha256(kept)}),
        run=Run(out / f"without-{code}"),
    )


def _check(one: _Without) -> None:
    """See that a run that is there is of this recipe, table and split, before anything is written."""
    check_fold(one.run, one.recipe, one.split.header["table-sha256"])
    # Recipes of two manifests are one, once each class has a manifest of its own.
    own = one.run.split_file
    if own.is_file() and load_manifest(str(own)).roles.to_csv() != one.split.roles.to_csv():
        raise UserError(f"{one.run.path} is of another split: name a new folder with --out")


def _write(one: _Without, data: Path) -> None:
    """Table and split without the class, and a link to the images, which stay where they are."""
    one.folder.mkdir(parents=True, exist_ok=True)
    link = one.folder / "images"
    # The nearest table is the one that a folder is read by.
    link.unlink(missing_ok=True)
    link.symlink_to((data if data.is_dir() else data.parent).resolve(), target_is_directory=True)
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "site", "source"]
    text = one.table[columns].rename(columns=COLUMNS).to_csv(index=False)
    write_text(one.folder / "HAM10000_metadata.csv", text)
    one.split.save(Path(str(one.recipe.split.manifest)))


def _recipe_text(code: str, recipe: Recipe, manifest: Path) -> str:
    """The recipe without a class, wherever the class has a number of its own."""
    content: dict[str, Any] = recipe.model_dump(mode="json")
    content["name"] = f"{recipe.name}-without-{code}"
    content["data"] |= {
        "classes": [other for other in recipe.data.classes if other != code],
        "described": {other: facts for other, facts in recipe.data.facts.items() if other != code},
        "columns": {},
        "labels": {},
    }
    content["split"]["manifest"] = str(manifest)
    imbalance = content["imbalance"]
    _drop(code, imbalance["weights"], imbalance["sampler"])
    return json.dumps(content)


def _drop(code: str, *branches: Any) -> None:
    """Take a class out of every mapping of these, at any depth."""
    for branch in branches:
        if isinstance(branch, dict):
            branch.pop(code, None)
            _drop(code, *branch.values())
