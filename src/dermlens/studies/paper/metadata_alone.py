"""What age, sex and site say of a lesion that nobody has looked at.

Gradient-boosted trees (Friedman 2001, in scikit-learn's histogram form) on three features, each class as
heavy as the others, as in the networks they are set beside; trained and scored on an arm's folds. Nothing
about them was chosen on the scored images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from dermlens.data.split import load_manifest
from dermlens.data.table import read_configured
from dermlens.runs import Run
from dermlens.studies.folds import held_out
from dermlens.studies.out_of_fold import merge
from dermlens.studies.paper.folds_of import folds_of

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
    recipe = runs[0].recipe()
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
    split = load_manifest(str(run.split_file), table, remedy="name the arm's own data by --data")
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
