"""The numbers by which studies are read, each under a stated decision.

Mean recall, recall and accuracy are of the named class; AUC, ECE and log loss of the probabilities. `argmax`
takes the probabilities as they come, a tie for the highest counting as wrong; `rule` scales them and names a
class by what the other folds teach; the intervals hold for rules as they were fitted.

Shapes: N images, C classes, `...` the leading axes of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.decision.document import Rule, Scaling
from dermlens.evaluation.calibration import ece
from dermlens.evaluation.config import EvaluationConfig
from dermlens.evaluation.fold_intervals import over_folds
from dermlens.evaluation.intervals import Estimate, Place, Resamples, draw_lesions, estimate, nest
from dermlens.evaluation.predictions import arrays, classes_of
from dermlens.evaluation.recall_intervals import mean_recall, recall
from dermlens.metrics import Floats, Ints
from dermlens.studies.out_of_fold import FOLD
from dermlens.studies.rules import Fit, as_shipped, nested

OVERALL = {
    "mean_recall": "mean recall",
    "accuracy": "accuracy",
    "macro_auc": "macro AUC",
    "ece": "ECE",
    "log_loss": "log loss",
}


@dataclass(frozen=True, slots=True)
class Decided:
    """Probabilities and the class that is named from them.

    Attributes:
        p_NC: probabilities.
        named_N: class indices, or `metrics.UNDECIDED`.
    """

    p_NC: Floats
    named_N: Ints


def by_argmax(p_NC: Floats) -> Decided:
    """The class of the highest probability, the probabilities as they come."""
    return Decided(p_NC, metrics.decided_classes(p_NC))


@dataclass(frozen=True, slots=True)
class Judged:
    """A table of predictions under every decision that it allows.

    Attributes:
        target_N: class indices.
        decisions: `argmax`, and `rule` for predictions out of fold.
        fitted: by fold, the scaling and the rule that its images are judged by.
    """

    target_N: Ints
    decisions: dict[str, Decided]
    fitted: dict[int, tuple[Scaling, Rule]]


def judge(table: pd.DataFrame, fit: Fit) -> Judged:
    """Name a class for every image.

    Args:
        table: predictions, with `fold` where they are out of fold.
        fit: of scaling and rule.
    """
    target_N, p_NC = arrays(table, classes_of(table))
    judged = Judged(target_N, {"argmax": by_argmax(p_NC)}, {})
    if FOLD not in table:
        return judged
    lesion_N, fold_N = table["lesion_id"].to_numpy(dtype=str), table[FOLD].to_numpy(dtype=np.int64)
    found = nested(target_N, p_NC, lesion_N, fold_N, fit)
    if found is None:
        return judged
    rule = Decided(found.p_NC, found.named_N)
    return Judged(target_N, judged.decisions | {"rule": rule}, found.fitted)


def numbers(
    target_N: Ints, decided: Decided, classes: Sequence[str], weights: Floats | None
) -> dict[Place, Floats]:
    """Every number of a study.

    Args:
        target_N: class indices.
        decided: probabilities and named classes.
        classes: codes, in the order of the columns.
        weights: (..., N); none for ones.

    Returns:
        Each (...), by name; recall by class behind it.
    """
    counts = metrics.one_vs_rest(target_N, decided.named_N, len(classes), weights)
    auc_C = np.stack(
        [
            metrics.ranking(target_N == index, decided.p_NC[:, index], weights).auc
            for index in range(len(classes))
        ],
        axis=-1,
    )
    found: dict[Place, Floats] = {
        ("mean_recall",): metrics.macro(counts.recall, counts.support),
        ("accuracy",): metrics.weighted_mean(decided.named_N == target_N, weights),
        ("macro_auc",): metrics.macro(auc_C, counts.support),
        ("ece",): ece(target_N, decided.p_NC, weights),
        ("log_loss",): metrics.log_loss(target_N, decided.p_NC, weights),
    }
    return found | {("recall", code): counts.recall[..., index] for index, code in enumerate(classes)}


def recall_estimates(
    target_N: Ints, decided: Decided, classes: Sequence[str], resamples: Resamples, *, level: float
) -> dict[Place, Estimate]:
    """Mean recall and recall by class as `numbers` has them, with intervals that hold for few lesions."""
    named_N = decided.named_N
    found: dict[Place, Estimate] = {
        ("mean_recall",): mean_recall(target_N, named_N, len(classes), resamples, level=level)
    }
    return found | {
        ("recall", code): recall(target_N, named_N, index, resamples, level=level)
        for index, code in enumerate(classes)
    }


def score_study(table: pd.DataFrame, config: EvaluationConfig) -> dict[str, Any]:
    """Score a table of predictions, role by role and decision by decision.

    Args:
        table: predictions, with `fold` where they are out of fold.
        config: how many resamples of lesions, which level, which seed.

    Returns:
        `bootstrap` and, by role, `images`, `lesions`, `support` by class, the decisions, each number as
        {value, low, high}, its mean over folds as `over_folds` gives it, and what was fitted on the other
        folds of each.
    """
    classes = classes_of(table)
    return {
        "classes": list(classes),
        "bootstrap": bootstrap_facts(config),
        "roles": {str(role): _score_role(part, classes, config) for role, part in table.groupby("role")},
    }


def _over_folds(
    table: pd.DataFrame, judged: Judged, classes: tuple[str, ...], level: float
) -> dict[str, Any]:
    """Every number by decision, in each fold and on average; nothing for predictions that have no folds."""
    if FOLD not in table:
        return {}
    fold_N = table[FOLD].to_numpy(dtype=np.int64)
    found: dict[Place, Any] = {}
    for name, decided in judged.decisions.items():
        by_fold = []
        for fold in np.unique(fold_N):
            rows = fold_N == fold
            of_fold = Decided(decided.p_NC[rows], decided.named_N[rows])
            by_fold.append(numbers(judged.target_N[rows], of_fold, classes, None))
        for place in by_fold[0]:
            found[name, *place] = over_folds([float(one[place]) for one in by_fold], level=level)
    return nest(found)


def bootstrap_facts(config: EvaluationConfig) -> dict[str, Any]:
    """How the intervals were drawn."""
    return {"replicates": config.bootstrap, "level": config.level, "seed": config.seed, "unit": "lesion"}


def _score_role(table: pd.DataFrame, classes: tuple[str, ...], config: EvaluationConfig) -> dict[str, Any]:
    judged = judge(table, as_shipped)
    target_N = judged.target_N

    def statistic(weights: Floats | None) -> Mapping[Place, Floats]:
        return {
            (name, *place): value
            for name, one in judged.decisions.items()
            for place, value in numbers(target_N, one, classes, weights).items()
        }

    resamples = draw_lesions(
        table["lesion_id"].to_numpy(dtype=str), target_N, replicates=config.bootstrap, seed=config.seed
    )
    estimates = estimate(statistic, resamples, level=config.level)
    for name, one in judged.decisions.items():
        own = recall_estimates(target_N, one, classes, resamples, level=config.level)
        estimates |= {(name, *place): found for place, found in own.items()}
    support = {code: int((target_N == index).sum()) for index, code in enumerate(classes)}
    return {
        "images": len(table),
        "lesions": int(table["lesion_id"].nunique()),
        "support": support,
        "decisions": nest(estimates),
        "folds": _over_folds(table, judged, classes, config.level),
        "fitted": {
            str(fold): {"scaling": scaling.model_dump(mode="json"), "rule": rule.model_dump(mode="json")}
            for fold, (scaling, rule) in judged.fitted.items()
        },
    }
