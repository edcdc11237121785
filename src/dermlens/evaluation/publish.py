"""What of a run may be published: everything but weights, pictures and the paths of one machine."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from dermlens.data.predictions import write_predictions
from dermlens.documents import load_yaml
from dermlens.errors import UserError
from dermlens.files import copy_file, read_json, write_json, write_text
from dermlens.runs import Run

RECIPE = "recipe.yaml"
COPIED = ("split.csv", "metrics.json", "model_card.md")
DECIDED = ("decision/*/*.csv", "missing_metadata.csv", "told.csv")
"""Tables of a card that may exist, stale after another decision; `told.csv` is of earlier versions."""
TABLES = (*DECIDED, "*_ood*.csv", "dermoscopy.csv")
"""All further tables of a card."""
_PATH = re.compile(r"(?<![\w.:/~)])/(?:[^\s,;:'\"(){}\[\]/]+/)+([^\s,;:'\"(){}\[\]/]+)")
"""An absolute path of two parts or more within a text, and its last part."""


def publish_run(run: Run, folder: Path) -> Run:
    """Write the record of an evaluated run into a folder that can be committed.

    The folder is itself a run directory: `dermlens evaluate FOLDER` computes its metrics anew from the
    compressed predictions. Weights, checkpoints, report and figures stay behind, since the last two show
    patients' images.

    Args:
        run: an evaluated run.
        folder: to write to, not the run's own; what it holds of the same names is replaced, and tables of a
            decision that the run has no longer are taken away.

    Returns:
        The published run.

    Raises:
        UserError: the run has not been evaluated or reported, or the folder is the run's own.
    """
    if folder.resolve() == run.path.resolve():
        raise UserError(f"{folder} is the run itself; name a folder for what may be published of it")
    for name in (RECIPE, *COPIED):
        if not (run.path / name).is_file():
            raise UserError(f"run {run.path} has no {name}: evaluate and report it first")
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        copy_file(run.path / name, folder / name)
    publish_recipe(run, folder)
    published = Run(folder)
    if run.ledger_file.is_file():
        copy_file(run.ledger_file, published.ledger_file)
    if run.history_file.is_file():
        copy_file(run.history_file, published.history_file)
    for member in run.members:
        copy = Run(published.member_folder / member.path.name)
        copy.path.mkdir(parents=True, exist_ok=True)
        publish_training(member, copy)
    _publish_other_sets(run, published)
    for stale in [file for pattern in DECIDED for file in folder.glob(pattern)]:
        stale.unlink()
    for file in [file for pattern in TABLES for file in sorted(run.path.glob(pattern))]:
        place = folder / file.relative_to(run.path)
        place.parent.mkdir(parents=True, exist_ok=True)
        copy_file(file, place)
    if run.document_file.is_file():  # the decision: the weights that it is of stay behind
        content = json.loads(run.document_file.read_text(encoding="utf-8"))
        write_json(published.document_file, without_paths(content | {"manifest": None}))
    write_predictions(folder / "predictions.csv.gz", run.predictions())
    write_json(published.record_file, without_paths(read_json(run.record_file)))
    return published


def publish_training(run: Run, published: Run) -> None:
    """Write how a run was trained into a folder that is there: its record, recipe and history."""
    write_json(published.record_file, without_paths(read_json(run.record_file)))
    publish_recipe(run, published.path)
    copy_file(run.history_file, published.history_file)


def _publish_other_sets(run: Run, published: Run) -> None:
    """Scores and predictions of the other sets that a run was scored on; older ones are taken away."""
    for old in published.evaluations.glob("*"):
        shutil.rmtree(old)
    for scored in run.scored_sets:
        copy = published.evaluations / scored.path.name
        copy.mkdir(parents=True)
        write_json(Run(copy).metrics_file, without_paths(read_json(scored.metrics_file)))
        write_predictions(copy / "predictions.csv.gz", scored.predictions())


def without_paths(value: Any) -> Any:
    """The same, with the last part alone of every absolute path, which would tell of one machine.

    A text is a path, or has paths among its words, such as `{soft_labels: /mine/soft.csv, weight: 0.5}`.
    """
    if isinstance(value, dict):
        return {key: without_paths(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_paths(inner) for inner in value]
    if isinstance(value, str):
        if "\n" not in value and Path(value).is_absolute():
            return Path(value).name
        return _PATH.sub(r"\1", value)
    return value


def publish_recipe(run: Run, folder: Path) -> None:
    """Write a run's recipe as it was resolved then, without the paths of its machine."""
    recipe, _ = load_yaml(run.recipe_file.read_text(encoding="utf-8"), str(run.recipe_file))
    write_text(folder / RECIPE, yaml.safe_dump(without_paths(recipe), sort_keys=False, allow_unicode=True))
