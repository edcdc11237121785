"""How well a network's features tell where a nevus was photographed.

A logistic regression on the features is taught the source of some nevi and asked for that of others, the
lesions of both being apart. All sources have as many lesions in it, so chance is one in their number. What
it finds beyond chance the network can use as a shortcut: where a lesion was photographed nearly says what
it is. Nevi may differ between clinics as well, so chance is a bound that an honest network need not reach.

Shapes: N images, D features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dermlens import metrics
from dermlens.data.manifest import HOME, load_manifest
from dermlens.data.protocols import lesion_groups
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.evaluation.intervals import Place, draw_lesions, estimate, nest
from dermlens.files import write_json
from dermlens.metrics import Floats
from dermlens.models.saved import load_model
from dermlens.predict.pictures.preprocessing import Numbers
from dermlens.predict.predictor import shipped_folder
from dermlens.recipe import Recipe
from dermlens.records import estimate_text
from dermlens.training.predict import logits_table

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
