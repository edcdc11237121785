"""How a network does on a source that took no part in its training, and how well it tells sources apart.

Shapes: N images, D features, S sources.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dermlens import metrics
from dermlens.data.manifest import HOME, load_manifest
from dermlens.data.predictions import write_predictions
from dermlens.data.protocols import lesion_groups
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.evaluation.intervals import Place, draw_lesions, estimate, nest
from dermlens.evaluation.ledger import publish_recipe, publish_training, without_paths
from dermlens.evaluation.subgroups import Difference, mean_over_sources, score_source
from dermlens.files import read_json, write_json
from dermlens.metrics import Floats
from dermlens.models.saved import load_model
from dermlens.predict.pictures.preprocessing import Numbers
from dermlens.predict.predictor import shipped_folder
from dermlens.recipe import Recipe, load_recipe
from dermlens.records import estimate_text
from dermlens.runs import Run
from dermlens.studies.crossfit import RECIPE, train_units
from dermlens.studies.folds import held_out, unit_recipe
from dermlens.training.machine import Where
from dermlens.training.predict import logits_table

# A cross-fit by source: each source is left out once, and scored by a network that saw no image of it.
#
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


# How well a network's features tell where a nevus was photographed.
#
# A logistic regression on the features is taught the source of some nevi and asked for that of others, the
# lesions of both being apart. All sources have as many lesions in it, so chance is one in their number. What
# it finds beyond chance the network can use as a shortcut: where a lesion was photographed nearly says what
# it is. Nevi may differ between clinics as well, so chance is a bound that an honest network need not reach.


CLASS = "nv"
FOLDS = 5
LESIONS = 200
REPLICATES = 1000


def probe_lesions(table: pd.DataFrame, *, lesions: int = LESIONS) -> pd.DataFrame:
    """One image each of as many nevi of every source that has so many, none of the project's own test role.

    Args:
        table: a LesionTable of several sources.
        lesions: of a source, at least two a fold.

    Returns:
        Rows of the table, index 0 … N−1, with the column `group`, the lesion.

    Raises:
        UserError: fewer than two sources have so many nevi.
    """
    sealed = load_manifest(HOME).ids("test")
    rows = table.assign(group=lesion_groups(table))
    rows = rows[(rows["dx"] == CLASS) & ~rows["image_id"].isin(sealed)]
    rows = rows.sample(frac=1, random_state=0).drop_duplicates("group")
    drawn = rows.groupby("source").head(lesions)
    enough = drawn["source"].value_counts() == lesions
    if enough.sum() < 2:
        raise UserError(f"a probe of the source needs two sources of {lesions} nevi; {enough.sum()} has them")
    kept = drawn[drawn["source"].map(enough)]
    return kept.sort_values("image_id", ignore_index=True)


def probe_source(features_ND: Numbers, source_N: np.ndarray, group_N: np.ndarray) -> Any:
    """Sources that a linear probe names for lesions that it was not taught on, in five folds.

    Args:
        features_ND: as the network's last layer sees them.
        source_N: names.
        group_N: the lesion of each.

    Returns:
        Names, (N,).
    """
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    return cross_val_predict(probe, features_ND, source_N, groups=group_N, cv=folds)


def write_source_probe(
    recipe: Recipe,
    data: Path,
    model: Path | None,
    path: Path,
    *,
    device: str = "auto",
    cache: Path | None = None,
) -> dict[str, Any]:
    """Measure how well a model's features tell the source among nevi, and write it as JSON.

    Args:
        recipe: whose data section reads the sources.
        data: the folder that holds them.
        model: a run directory or a folder with a model; none takes the one that ships.
        path: to write to.
        device: as for `predict_table`.
        cache: root of the pixel caches.

    Returns:
        `images`, `chance`, and {value, low, high} of `balanced_accuracy` and, by source, `recall`.

    Raises:
        UserError: as `read_configured`, `probe_lesions`, `load_model` and `logits_table`.
    """
    rows = probe_lesions(read_configured(data, recipe.data))
    saved = load_model(model or shipped_folder())
    outputs = logits_table(saved, rows, device=device, cache_root=cache)
    source_N, group_N = rows["source"].to_numpy(dtype=str), rows["group"].to_numpy(dtype=str)
    named_N = probe_source(outputs.features_ND, source_N, group_N)
    sources = sorted(set(source_N))
    true_N, found_N = (np.searchsorted(sources, names_N) for names_N in (source_N, named_N))

    def statistic(weights: Floats | None) -> dict[Place, Floats]:
        counts = metrics.one_vs_rest(true_N, found_N, len(sources), weights)
        found: dict[Place, Floats] = {("balanced_accuracy",): metrics.macro(counts.recall, counts.support)}
        return found | {("recall", name): counts.recall[..., index] for index, name in enumerate(sources)}

    resamples = draw_lesions(group_N, true_N, replicates=REPLICATES, seed=0)
    found = {
        "images": len(rows),
        "chance": 1 / len(sources),
        **nest(estimate(statistic, resamples, level=0.95)),
    }
    write_json(path, found)
    return found


def probe_sentences(found: Mapping[str, Any]) -> list[str]:
    """What `write_source_probe` found, a line each."""
    return [
        *(f"{source}: {estimate_text(recall, 3)}" for source, recall in found["recall"].items()),
        f"balanced accuracy {estimate_text(found['balanced_accuracy'], 3)} of {found['images']} nevi;"
        f" by chance {found['chance']:.3f}",
    ]
