"""The best of several arms, chosen without a look at what is scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.evaluation.predictions import arrays, classes_of
from dermlens.studies.out_of_fold import FOLD


def best_elsewhere(tables: Mapping[str, pd.DataFrame], arms: Sequence[str]) -> pd.DataFrame:
    """For each fold the predictions of the arm that did best on the other folds, by mean recall.

    Args:
        tables: out-of-fold predictions by arm, of the same images in the same order.
        arms: to choose from; of equals the first.

    Returns:
        A table like theirs.
    """
    first = tables[arms[0]]
    chosen = first.copy()
    for fold in np.unique(first[FOLD]):
        scores = [_mean_recall(tables[arm][tables[arm][FOLD] != fold]) for arm in arms]
        best = tables[arms[int(np.argmax(scores))]]
        own = (first[FOLD] == fold).to_numpy()
        columns = [f"p_{code}" for code in classes_of(first)]
        chosen.loc[own, columns] = best.loc[own, columns]
    return chosen


def _mean_recall(table: pd.DataFrame) -> float:
    classes = classes_of(table)
    target_N, p_NC = arrays(table, classes)
    counts = metrics.one_vs_rest(target_N, metrics.predicted_classes(p_NC), len(classes))
    return float(metrics.macro(counts.recall, counts.support))
