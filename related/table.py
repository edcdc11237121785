"""The numbers of the comparison, recomputed from published predictions.

A number of a system is its mean over the seeds. Three intervals are given with it, and none of them holds for
all that may vary: over lesions (drawn with replacement within each class, as everywhere in dermlens), over
folds (Student's, of the means of the folds), and over seeds (from the least to the largest). A difference to
the baseline is taken resample by resample on the same draw of lesions.

Shapes: N images, C classes, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.data.predictions import arrays, classes_of
from dermlens.evaluation.intervals import Place, estimate, over_folds, resamples_of
from dermlens.labels import CLASSES
from dermlens.metrics import Floats, Ints
from dermlens.plugins import plugin
from dermlens.sections import EvaluationConfig
from related.study import Study

METRICS = {
    "mean_recall": "mean recall",
    "recall_mel": "melanoma recall",
    "macro_auc": "macro AUC",
    "accuracy": "accuracy",
    "macro_precision": "macro precision",
    "macro_f1": "macro F1",
    "weighted_precision": "precision, classes by their images",
    "weighted_f1": "F1, classes by their images",
    "mean_cost": "mean cost",
}
"""Metric → words; all are of the most probable class, a tie counting as wrong, but the AUC."""

SHOWN = ("mean_recall", "recall_mel", "macro_auc", "accuracy", "mean_cost")
"""Those of the page; all are in `table.csv`."""

MALIGNANT = ("akiec", "bcc", "mel")
MISSED, WRONG = 10.0, 1.0
"""Cost of a malignant lesion that is named benign, and of every other confusion. Assumed, and fixed before
any system was scored: Ho and Wookey (2020) leave costs to those who bear them."""

COLUMNS = (
    "system", "metric", "value", "low", "high", "folds_low", "folds_high", "seeds_low", "seeds_high",
    "seeds", "baseline", "difference", "difference_low", "difference_high",
)  # fmt: skip


def costs(classes: Sequence[str]) -> Floats:
    """cost_CC of naming the column's class where the row's is true."""
    malignant_C = np.isin(classes, MALIGNANT)
    cost_CC = np.where(malignant_C[:, None] & ~malignant_C[None, :], MISSED, WRONG)
    np.fill_diagonal(cost_CC, 0.0)
    return cost_CC


@plugin("metric")
def mean_real_cost(target_N: Ints, p_NC: Floats, classes: Sequence[str]) -> float:
    """The mean cost of a run's own reports: `evaluation.metrics: ["related.table:mean_real_cost"]`."""
    return float(metrics.mean_cost(target_N, metrics.decided_classes(p_NC), costs(classes)))


def numbers(
    target_N: Ints, p_NC: Floats, classes: Sequence[str], weights: Floats | None
) -> dict[str, Floats]:
    """All METRICS, each with the leading axes of the weights."""
    named_N = metrics.decided_classes(p_NC)
    counts = metrics.one_vs_rest(target_N, named_N, len(classes), weights)
    auc_C = np.stack(
        [metrics.ranking(target_N == c, p_NC[:, c], weights).auc for c in range(len(classes))], axis=-1
    )
    return {
        "mean_recall": metrics.macro(counts.recall, counts.support),
        "recall_mel": counts.recall[..., list(classes).index("mel")],
        "macro_auc": metrics.macro(auc_C, counts.support),
        "accuracy": metrics.weighted_mean(named_N == target_N, weights),
        "macro_precision": metrics.macro(counts.precision, counts.support),
        "macro_f1": metrics.macro(counts.f1, counts.support),
        "weighted_precision": metrics.support_weighted(counts.precision, counts.support),
        "weighted_f1": metrics.support_weighted(counts.f1, counts.support),
        "mean_cost": metrics.mean_cost(target_N, named_N, costs(classes), weights),
    }


Scorer = Callable[[Ints, Floats, Sequence[str], Floats | None], dict[str, Floats]]


def table_of(
    study: Study,
    predictions: Mapping[str, Sequence[pd.DataFrame]],
    config: EvaluationConfig,
    scorer: Scorer = numbers,
) -> pd.DataFrame:
    """Score every system that is there.

    Args:
        study: which system is compared with which.
        predictions: as `read_published` gives them: all of the same images in the same order.
        config: of the bootstrap.
        scorer: the numbers, by name, as `numbers` gives them.

    Returns:
        A row for each system and metric; differences are empty without a baseline that is there.
    """
    if not predictions:
        return pd.DataFrame(columns=list(COLUMNS))
    first = next(iter(predictions.values()))[0]
    classes = classes_of(first)
    assert set(classes) == set(CLASSES), "the systems name the seven diagnoses"
    target_N, _ = arrays(first, classes)
    probabilities = {name: [arrays(one, classes)[1] for one in seeds] for name, seeds in predictions.items()}
    baselines = {
        name: study.systems[name].baseline
        for name in predictions
        if study.systems[name].baseline in predictions
    }

    def statistic(weights: Floats | None) -> dict[Place, Floats]:
        """Values and differences in one pass, so that both see the same draw."""
        found: dict[Place, Floats] = {}
        for name, seeds in probabilities.items():
            each = [scorer(target_N, p_NC, classes, weights) for p_NC in seeds]
            for metric in each[0]:
                found[name, "value", metric] = np.mean([one[metric] for one in each], axis=0)
        for name, baseline in baselines.items():
            for metric in [place[2] for place in found if place[:2] == (name, "value")]:
                ours, theirs = found[name, "value", metric], found[str(baseline), "value", metric]
                found[name, "difference", metric] = ours - theirs
        return found

    resamples = resamples_of(first, target_N, config)
    estimates = estimate(statistic, resamples, level=config.level)
    fold_N = first["fold"].to_numpy(np.int64)
    rows = []
    for name, seeds in probabilities.items():
        by_seed = [scorer(target_N, p_NC, classes, None) for p_NC in seeds]
        by_fold = [
            [scorer(target_N[fold_N == fold], p_NC[fold_N == fold], classes, None) for p_NC in seeds]
            for fold in np.unique(fold_N)
        ]
        for metric in by_seed[0]:
            folds = over_folds(
                [float(np.mean([one[metric] for one in fold])) for fold in by_fold], level=config.level
            )
            of_seeds = [float(one[metric]) for one in by_seed]
            value = estimates[name, "value", metric]
            row = {"system": name, "metric": metric, **value, "seeds": len(seeds)}
            row |= {"folds_low": folds["low"], "folds_high": folds["high"]}
            row |= {"seeds_low": min(of_seeds), "seeds_high": max(of_seeds)}
            if name in baselines:
                difference = estimates[name, "difference", metric]
                row |= {"baseline": baselines[name], "difference": difference["value"]}
                row |= {f"difference_{end}": difference[end] for end in ("low", "high")}
            rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))
