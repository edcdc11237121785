"""What another set has in common with the run's own split: images by name, copies by content, lesions."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermlens.data.lesion_groups import contents, lesion_groups
from dermlens.data.split import load_manifest
from dermlens.data.table import read_configured, read_table
from dermlens.errors import UserError
from dermlens.runs import Run


def without_own(run: Run, data: Path, table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """The images that the run neither trained on nor holds out.

    An image of the run, of its split or of `data.also_train`, is known by its id, or by its file's bytes
    where the run's own file is still there.
    Lesion ids alone are not grounds to leave an image out: two sources may both count from 1.

    Args:
        run: with its split.
        data: the other set, for messages.
        table: its LesionTable.

    Returns:
        The rest of the table, index 0 … N−1, and in words what was left out, what could not be checked and
        which lesions both have.

    Raises:
        UserError: nothing is left.
    """
    roles = load_manifest(str(run.split_file)).roles
    further, gone = _further(run)
    named_N = table["image_id"].isin([*roles["image_id"], *further["image_id"]])
    split_files = _own_files(run, roles["image_id"]) if not named_N.all() else []
    own_files = [*split_files, *(path for path in further["path"] if Path(path).is_file())]
    digests = contents([*own_files, *table["path"]])
    own_digests = {digests[path] for path in own_files if path in digests}
    copied_N = ~named_N & table["path"].map(digests).isin(own_digests)
    if (named_N | copied_N).all():
        raise UserError(
            f"{data} holds only images of the run's own split or of data.also_train; `dermlens evaluate"
            f" {run.path}` scores the former, with --open-test the test role too"
        )
    warnings = []
    for found_N, what in ((named_N, "are"), (copied_N, "are, under other names, copies of files")):
        if found_N.any():
            warnings.append(
                f"external: {int(found_N.sum())} of {len(table)} images {what} in the run's own split "
                f"{'or its further training images ' if len(further) else ''}and were left out"
            )
    if gone:
        warnings.append(
            f"external: the run also trained on {', '.join(gone)}, which is not there, so it could not be"
            " checked whether the set holds images that were trained on"
        )
    unchecked = len(roles) - len(split_files)
    if unchecked:
        warnings.append(
            f"external: {unchecked} of the {len(roles)} images of the run's own split are not where the run "
            "found them, so it could not be checked whether the set holds copies of them under other names"
        )
    kept = table[~(named_N | copied_N)].reset_index(drop=True)
    ids = ["image_id", "lesion_id"]
    group_N = lesion_groups(pd.concat([roles[ids], kept[ids]], ignore_index=True))
    shared = int(group_N[len(roles) :].isin(group_N[: len(roles)]).sum())
    if shared:
        warnings.append(
            f"external: {shared} images show, by their lesion ids or the list of lesions with several ids, "
            "a lesion of the run's own split; if that is so, the scores flatter the model"
        )
    return kept, warnings


def _further(run: Run) -> tuple[pd.DataFrame, list[str]]:
    """Ids and paths of the images of `data.also_train`, and which of its folders are not there any more."""
    named = str(run.read_record().get("data") or "")
    data = Path(named)
    beside = (data if data.is_dir() else data.parent).resolve().parent
    tables = [pd.DataFrame({"image_id": pd.Series(dtype=str), "path": pd.Series(dtype=str)})]
    gone = []
    for recipe in run.recipes():
        for folder in recipe.data.also_train:
            try:
                tables.append(read_table(beside / folder, classes=recipe.data.classes, check_files=False))
            except UserError:
                gone.append(folder)
    return pd.concat([table[["image_id", "path"]] for table in tables], ignore_index=True), gone


def _own_files(run: Run, image_ids: pd.Series[str]) -> list[str]:
    """Paths of the split's images, those that are still in the folder that run.json names."""
    named = run.read_record().get("data")
    if not named or not Path(named).is_absolute():  # a published run names no place
        return []
    try:
        table = read_configured(Path(named), run.recipe().data, check_files=False)
    except UserError:
        return []
    paths = table.loc[table["image_id"].isin(image_ids), "path"]
    return [path for path in paths if Path(path).is_file()]
