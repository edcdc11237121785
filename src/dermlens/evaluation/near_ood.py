"""Near strangers: a class is left out of the training, and its images must stand out to the network.

One training a class, of a recipe that should be small.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dermlens.atomic import write_text
from dermlens.data.split import Split, resolve_split
from dermlens.data.table import read_configured, table_sha256
from dermlens.errors import UserError, nearest
from dermlens.evaluation.calibrate import FITTED, label_outputs, run_outputs
from dermlens.evaluation.decision_report import write_table
from dermlens.evaluation.strangers import stranger_table
from dermlens.models.saved import load_model
from dermlens.recipe import Recipe, parse_recipe
from dermlens.runs import Run
from dermlens.training.fit import fit, resume_fit

COLUMNS = {"site": "localization"}


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
        recipe: with train, selection and calibration roles.
        data: the data folder.
        out: a folder for the runs, `without-<class>/`; completed ones are not trained again.
        classes: to leave out; none for all of the recipe's.
        device: as for `fit`.
        cache: likewise.

    Returns:
        The rows of `stranger_table`, the class left out as `set`; also written as near_ood.csv.

    Raises:
        UserError: a class is not of the recipe, or as for `fit`.
    """
    table = read_configured(data, recipe.data)
    split = resolve_split(table, recipe.split)
    rows = []
    for code in classes or recipe.data.classes:
        if code not in recipe.data.classes:
            raise UserError(f"class {code} is not one of the recipe's{nearest(code, recipe.data.classes)}")
        run = _train_without(code, recipe, data, table, split, out, device=device, cache=cache)
        saved = load_model(run.path)
        found = run_outputs(run, saved, FITTED, device=device, cache=cache)
        unsealed = table["image_id"].isin([image for role in FITTED for image in split.ids(role)])
        left_out = table[(table["dx"] == code) & unsealed].reset_index(drop=True)
        train, familiar, calibration = (found[role].labelled for role in FITTED)
        strangers = {code: label_outputs(saved, left_out, device=device, cache=cache)}
        rows.append(stranger_table(train, calibration, familiar, strangers))
    result = pd.concat(rows, ignore_index=True)
    write_table(out / "near_ood.csv", result)
    return result


def _train_without(
    code: str,
    recipe: Recipe,
    data: Path,
    table: pd.DataFrame,
    split: Split,
    out: Path,
    *,
    device: str,
    cache: Path | None,
) -> Run:
    """The run of the recipe on the other classes: begun, gone on with, or as it is."""
    run = Run(out / f"without-{code}")
    if run.record_file.is_file():
        done = run.read_record()["status"] == "completed"
        return run if done else resume_fit(run.path, device=device, cache=cache)
    folder = out / f"data-without-{code}"
    kept = table[table["dx"] != code].reset_index(drop=True)
    roles = split.roles[split.roles["image_id"].isin(kept["image_id"])].reset_index(drop=True)
    manifest = out / f"split-without-{code}.csv"
    # The images stay where they are; the nearest table is the one that a folder is read by.
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "images"
    if not link.is_symlink():
        link.symlink_to((data if data.is_dir() else data.parent).resolve(), target_is_directory=True)
    columns = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "site", "dataset"]
    write_text(folder / "HAM10000_metadata.csv", kept[columns].rename(columns=COLUMNS).to_csv(index=False))
    others = [other for other in recipe.data.classes if other != code]
    own = parse_recipe(
        recipe.dump(),
        f"recipe {recipe.name}",
        (
            f"name={recipe.name}-without-{code}",
            f"data.classes=[{', '.join(others)}]",
            "data.columns={}",
            "data.labels={}",
            f"split.manifest={manifest}",
        ),
    )
    header = split.header | {"table-sha256": table_sha256(read_configured(folder, own.data))}
    Split(roles, header).save(manifest)
    return fit(own, folder, out=run.path, device=device, cache=cache)
