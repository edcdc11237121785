"""A cross-fit by source: each source is left out once, and scored by a network that saw no image of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import pandas as pd

from dermlens.data.predictions import write_predictions
from dermlens.errors import UserError
from dermlens.evaluation.ledger import publish_recipe, publish_training, without_paths
from dermlens.evaluation.transfer import Difference, mean_over_sources, score_source
from dermlens.files import read_json, write_json
from dermlens.recipe import Recipe, load_recipe
from dermlens.runs import Run
from dermlens.studies.crossfit import RECIPE, train_units
from dermlens.studies.folds import held_out, unit_recipe
from dermlens.training.machine import Where

# recipe.yaml             the recipe, resolved
# without-<source>/ …     a run directory each
# by_source.json          scores by source, folds, seconds, machine, seed, command, commit


RECORD = "by_source.json"
UNIT = "without-"
LEFT_OUT = ("rosendahl", "isic2017", "milk10k")
"""What is left out for a decision: another continent, other clinics, other skin. HAM10000 as a whole is not,
as what is left has 15 dermatofibromas."""


def crossfit_by_source(
    recipe: Recipe,
    data: Path,
    out: Path,
    *,
    sources: Sequence[str] = LEFT_OUT,
    only: Collection[str] | None = None,
    **where: Unpack[Where],
) -> dict[str, Any]:
    """Train the recipe without each source that is wanted and not there yet; score those that are there.

    Args:
        recipe: of a split with a test role, which plays no part here.
        data: the data folder.
        out: the folder of the cross-fit; absent, empty, or of the same cross-fit, which goes on.
        sources: to leave out, one after the other.
        only: those to train now; none for all.
        **where: see `Where`.

    Returns:
        The content of by_source.json: `sources` by name, each as `score_source` gives it, and `log_loss`, the
        mean over them, once all are there.

    Raises:
        UserError: a source is not there, the recipe, the table or the split does not allow it, or the folder
            is of something else.
        KeyboardInterrupt: with a sentence that says how to go on.
    """
    if unknown := sorted(set(only or ()) - set(sources)):
        raise UserError(f"source {unknown[0]} is none of those left out: {', '.join(sources)}")
    units = {_unit(source): unit_recipe(recipe, f"split.left_out={source}") for source in sources}
    wanted = None if only is None else [_unit(source) for source in only]
    facts, splits = train_units(recipe, units, data, out, record=out / RECORD, only=wanted, **where)
    for unit in units:
        if unit not in facts["missing"]:
            held_out(Run(out / unit), splits[unit])
    facts |= _scores(left_out_predictions(out), recipe, complete=facts["status"] == "completed")
    write_json(out / RECORD, facts)
    return facts


def left_out_predictions(folder: Path) -> dict[str, pd.DataFrame]:
    """Predictions of the left-out sources, by source, as far as they are there, also while others train.

    Args:
        folder: of a cross-fit by source, or what was published of one.

    Raises:
        UserError: it is none.
    """
    if not (folder / RECORD).is_file():
        raise UserError(f"{folder} is no cross-fit by source: it has no {RECORD}")
    found = {}
    for run in map(Run, sorted(folder.glob(f"{UNIT}*"))):
        if run.predictions_file.is_file():
            rows = run.predictions()
            rows = rows[rows["role"] == "selection"].reset_index(drop=True)
            found[run.path.name.removeprefix(UNIT)] = rows
    return found


def publish_by_source(out: Path, folder: Path) -> None:
    """Write what of a cross-fit by source may be published, as far as it is there.

    Args:
        out: of the cross-fit.
        folder: to write to; files of the same names are replaced.
    """
    facts = read_json(out / RECORD)
    predictions = left_out_predictions(out)
    facts |= _scores(predictions, load_recipe(str(out / RECIPE)), complete=facts["status"] == "completed")
    for source, table in predictions.items():
        copy = Run(folder / _unit(source))
        copy.path.mkdir(parents=True, exist_ok=True)
        write_predictions(copy.path / "predictions.csv.gz", table)
        publish_training(Run(out / _unit(source)), copy)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, without_paths(facts))
    publish_recipe(Run(out), folder)


def _unit(source: str) -> str:
    """The folder of a training."""
    return f"{UNIT}{source}"


def _scores(predictions: Mapping[str, pd.DataFrame], recipe: Recipe, *, complete: bool) -> dict[str, Any]:
    """Scores by source, and the mean of the losses where every source is there."""
    scored = {source: score_source(table, recipe.evaluation) for source, table in predictions.items()}
    found: dict[str, Any] = {"sources": scored}
    if complete:
        losses = [Difference(one["log_loss"]["value"], one["log_loss"]["error"]) for one in scored.values()]
        mean = mean_over_sources(losses)
        found["log_loss"] = {"value": mean.value, "error": mean.error}
    return found
