"""What trained arms say without another training: metadata alone, other metadata, where attention looks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from dermlens.data.predictions import classes_of
from dermlens.data.split import FIELDS, shuffled_metadata
from dermlens.data.table import read_configured
from dermlens.runs import Run
from dermlens.studies.ablation import folds_of
from dermlens.studies.folds import held_out, merge
from dermlens.training.predict import predict_table
from paper.attention_mass import attention_mass

# What age, sex and site say of a lesion that nobody has looked at.
#
# Gradient-boosted trees (Friedman 2001, in scikit-learn's histogram form) on three features, each class as
# heavy as the others, as in those they are compared with; trained and scored on an arm's folds. Nothing
# about them was chosen on the scored images.


TREES = {"max_iter": 100, "learning_rate": 0.05, "max_leaf_nodes": 15, "l2_regularization": 1.0}


def metadata_alone(arm: Path, data: Path) -> pd.DataFrame:
    """Out-of-fold probabilities from metadata only.

    Args:
        arm: the folder of a cross-fit, whose folds these are.
        data: the data folder.

    Returns:
        As `out_of_fold` tables are, one row an image that the arm scores.

    Raises:
        UserError: a fold is not there, or the data are not those of the arm.
    """
    runs = folds_of(arm)
    recipe = runs[0].recipe
    table = read_configured(data, recipe.data)
    return merge({fold: _predicted(run, table, recipe.data.classes) for fold, run in enumerate(runs)})


def probabilities(train: pd.DataFrame, rows: pd.DataFrame, classes: Sequence[str]) -> npt.NDArray[np.float64]:
    """Train on some rows of a LesionTable and predict others.

    Args:
        train: to train on.
        rows: to predict.
        classes: C codes; one that `train` has not gets 0.

    Returns:
        (rows, C).
    """
    trees = HistGradientBoostingClassifier(
        categorical_features=[1, 2], class_weight="balanced", early_stopping=False, random_state=0, **TREES
    )
    words = {name: sorted({*train[name], *rows[name]}) for name in ("sex", "site")}
    trees.fit(_features(train, words), train["dx"])
    p_NC = np.zeros((len(rows), len(classes)))
    p_NC[:, [classes.index(code) for code in trees.classes_]] = trees.predict_proba(_features(rows, words))
    return p_NC


def _predicted(run: Run, table: pd.DataFrame, classes: tuple[str, ...]) -> pd.DataFrame:
    split = run.split(table)
    scored = held_out(run, split)
    rows = table.set_index("image_id").loc[scored["image_id"]]
    p_NC = probabilities(table[table["image_id"].isin(split.ids("train"))], rows, classes)
    return scored.assign(**{f"p_{code}": p_NC[:, index] for index, code in enumerate(classes)})


def _features(rows: pd.DataFrame, words: Mapping[str, Sequence[str]]) -> npt.NDArray[np.float64]:
    """Age in years, and the numbers of sex and site among the words there are."""
    columns = [rows["age"].to_numpy(dtype=np.float64)]
    for name, known in words.items():
        columns.append(rows[name].map({word: float(number) for number, word in enumerate(known)}).to_numpy())
    return np.stack(columns, axis=1)


# A trained arm's images, scored again with part of the metadata, none, or those of another patient.
#
# What changes is what the network is given when it predicts; it was trained with all that is known. A wrong
# age, sex or site is that of another lesion of the same fold.


UNKNOWN: Mapping[str, float | str] = {"age": np.nan, "sex": "unknown", "site": "unknown"}
SEED = 0


def _missing(*names: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def missing(table: pd.DataFrame) -> pd.DataFrame:
        changed = table.copy()
        for name in names:
            changed[name] = UNKNOWN[name]
        return changed

    return missing


def _wrong(*names: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: shuffled_metadata(table, SEED, names)


OTHER_METADATA: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "given_nothing": _missing(*FIELDS),
    "given_age_only": _missing("sex", "site"),
    "given_sex_only": _missing("age", "site"),
    "given_site_only": _missing("age", "sex"),
    "given_age_missing": _missing("age"),
    "given_sex_missing": _missing("sex"),
    "given_site_missing": _missing("site"),
    "given_age_wrong": _wrong("age"),
    "given_sex_wrong": _wrong("sex"),
    "given_site_wrong": _wrong("site"),
    "given_wrong": _wrong(*FIELDS),
}
"""Name → what a fold's table becomes."""


def with_other_metadata(
    arm: Path,
    data: Path,
    *,
    device: str = "auto",
    cache: Path | None = None,
    ways: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = OTHER_METADATA,
) -> dict[str, pd.DataFrame]:
    """Out-of-fold probabilities under every way of telling.

    Args:
        arm: the folder of a cross-fit whose networks read metadata.
        data: the data folder.
        device: as for `predict_table`.
        cache: as for `predict_table`.
        ways: name → what becomes of a table.

    Returns:
        A table each, one row an image that the arm scores.

    Raises:
        UserError: a fold is not there, or the data are not those of the arm.
    """
    runs = folds_of(arm)
    table = read_configured(data, runs[0].recipe.data)
    parts: dict[str, dict[int, pd.DataFrame]] = {name: {} for name in ways}
    for fold, run in enumerate(runs):
        saved = run.model()
        split = run.split(table)
        scored = held_out(run, split)
        rows = table.set_index("image_id", drop=False).loc[scored["image_id"]].reset_index(drop=True)
        for name, way in ways.items():
            found = predict_table(saved, way(rows), of=table, device=device, cache_root=cache)
            parts[name][fold] = scored.assign(**{f"p_{code}": found[f"p_{code}"] for code in saved.classes})
    return {name: merge(folds) for name, folds in parts.items()}


# What trained arms say without another training.


LOOKING = ("base", "corrected", "uniform", "frozen", "corrected_gamma")
"""Arms with Soft-Attention, or a placebo of it."""


class Read(Protocol):
    """Reads the folder of an arm: name → table."""

    def __call__(
        self, arm: Path, data: Path, *, device: str, cache: Path | None
    ) -> Mapping[str, pd.DataFrame]: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of which arm.

    Attributes:
        arm: of the experiment `questions`.
        read: how.
    """

    arm: str
    read: Read


def _metadata_alone(arm: Path, data: Path, *, device: str, cache: Path | None) -> Mapping[str, pd.DataFrame]:
    del device, cache
    return {"metadata_alone": _slim(metadata_alone(arm, data))}


def _given(arm: Path, data: Path, *, device: str, cache: Path | None) -> Mapping[str, pd.DataFrame]:
    tables = with_other_metadata(arm, data, device=device, cache=cache)
    return {name: _slim(table) for name, table in tables.items()}


def _attention(arm: Path, data: Path, *, device: str, cache: Path | None) -> Mapping[str, pd.DataFrame]:
    return {"attention": attention_mass(arm, data, device=device, cache=cache)}


def _slim(table: pd.DataFrame) -> pd.DataFrame:
    """Ids and probabilities: the truth lies with the experiment."""
    return table[["image_id", *(f"p_{code}" for code in classes_of(table))]]


READINGS: dict[str, Reading] = {
    "metadata_alone": Reading("base", _metadata_alone),
    "given": Reading("base", _given),
    **{f"attention_{arm}": Reading(arm, _attention) for arm in LOOKING},
}
