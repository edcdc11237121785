"""The numbers by which studies are read, each under a stated decision, and arms compared in pairs.

Shapes: N images, C classes, `...` the leading axes of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dermlens import metrics
from dermlens.calibration.probabilities import Labelled, class_weights, fit_even_scaling
from dermlens.data.predictions import arrays, classes_of
from dermlens.evaluation.calibration import ece
from dermlens.evaluation.intervals import (
    Estimate,
    Place,
    Resamples,
    estimate,
    mean_recall,
    nest,
    over_folds,
    recall,
    resamples_of,
    with_differences,
)
from dermlens.metrics import Floats, Ints
from dermlens.predict.decision import scaled
from dermlens.predict.decision_document import Scaling
from dermlens.sections import EvaluationConfig
from dermlens.studies.folds import FOLD

# Calibrated probabilities for every image, fitted on the out-of-fold predictions of the other folds.
#
# So no image has a part in the scaling that it is judged by, and all of them can be judged.


@dataclass(frozen=True, slots=True)
class Nested:
    """Every image under a scaling that was fitted on the other folds.

    Attributes:
        p_NC: probabilities at equal class shares.
        fitted: by fold, the scaling that its images are judged by.
    """

    p_NC: Floats
    fitted: dict[int, Scaling]


def nested(target_N: Ints, p_NC: Floats, lesion_N: NDArray[Any], fold_N: Ints) -> Nested | None:
    """Judge each fold by the scaling that the images of the others fit.

    Args:
        target_N: class indices.
        p_NC: probabilities, out of fold.
        lesion_N: names of lesions.
        fold_N: folds, none of which shares a lesion with another.

    Returns:
        None where a fold holds all images of a class, so that the others cannot teach it.
    """
    images = Labelled.of_probabilities(p_NC, target_N, lesion_N)
    scaled_NC = np.empty_like(p_NC)
    fitted = {}
    for fold in np.unique(fold_N):
        inside_N = fold_N == fold
        if not np.bincount(target_N[~inside_N], minlength=p_NC.shape[1]).all():
            return None
        found, _ = fit_even_scaling(images.at(np.flatnonzero(~inside_N)))
        scaled_NC[inside_N] = scaled(images.logits_NC[inside_N], found)
        fitted[int(fold)] = found
    return Nested(np.exp(scaled_NC), fitted)


# Mean recall, recall and accuracy are of the named class; AUC, ECE and log loss of the probabilities.
# `argmax` takes the probabilities as they come, a tie for the highest counting as wrong; `equal` scales them
# to equal class shares by what the other folds teach and names the most probable class there, which is what
# mean recall asks for; its ECE and log loss weigh the classes alike. Intervals hold for scalings as fitted.


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
        even: whether the probabilities are of equal class shares, and are judged so.
    """

    p_NC: Floats
    named_N: Ints
    even: bool = False


def by_argmax(p_NC: Floats) -> Decided:
    """The class of the highest probability, the probabilities as they come."""
    return Decided(p_NC, metrics.decided_classes(p_NC))


@dataclass(frozen=True, slots=True)
class Judged:
    """A table of predictions under every decision that it allows.

    Attributes:
        target_N: class indices.
        decisions: `argmax`, and `equal` for predictions out of fold.
        fitted: by fold, the scaling that its images are judged by.
    """

    target_N: Ints
    decisions: dict[str, Decided]
    fitted: dict[int, Scaling]


def judge(table: pd.DataFrame) -> Judged:
    """Name a class for every image.

    Args:
        table: predictions, with `fold` where they are out of fold.
    """
    target_N, p_NC = arrays(table, classes_of(table))
    judged = Judged(target_N, {"argmax": by_argmax(p_NC)}, {})
    if FOLD not in table:
        return judged
    lesion_N, fold_N = table["lesion_id"].to_numpy(dtype=str), table[FOLD].to_numpy(dtype=np.int64)
    found = nested(target_N, p_NC, lesion_N, fold_N)
    if found is None:
        return judged
    equal = Decided(found.p_NC, metrics.predicted_classes(found.p_NC), even=True)
    return Judged(target_N, judged.decisions | {"equal": equal}, found.fitted)


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
    auc_C = metrics.auc_by_class(target_N, decided.p_NC, weights)
    judged = weights
    if decided.even:
        alike_N = class_weights(target_N, np.full(len(classes), 1 / len(classes)))
        judged = alike_N if weights is None else weights * alike_N
    found: dict[Place, Floats] = {
        ("mean_recall",): metrics.macro(counts.recall, counts.support),
        ("accuracy",): metrics.weighted_mean(decided.named_N == target_N, weights),
        ("macro_auc",): metrics.macro(auc_C, counts.support),
        ("ece",): ece(target_N, decided.p_NC, judged),
        ("log_loss",): metrics.log_loss(target_N, decided.p_NC, judged),
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
    drawn = {"replicates": config.bootstrap, "level": config.level, "seed": config.seed, "unit": "lesion"}
    return {
        "classes": list(classes),
        "bootstrap": drawn,
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
            of_fold = Decided(decided.p_NC[rows], decided.named_N[rows], decided.even)
            by_fold.append(numbers(judged.target_N[rows], of_fold, classes, None))
        for place in by_fold[0]:
            found[name, *place] = over_folds([float(one[place]) for one in by_fold], level=level)
    return nest(found)


def _score_role(table: pd.DataFrame, classes: tuple[str, ...], config: EvaluationConfig) -> dict[str, Any]:
    judged = judge(table)
    target_N = judged.target_N

    def statistic(weights: Floats | None) -> Mapping[Place, Floats]:
        return {
            (name, *place): value
            for name, one in judged.decisions.items()
            for place, value in numbers(target_N, one, classes, weights).items()
        }

    resamples = resamples_of(table, target_N, config)
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
            str(fold): {"scaling": scaling.model_dump(mode="json")} for fold, scaling in judged.fitted.items()
        },
    }


# Arms on the same images, with paired intervals for what each differs by from the baseline.
#
# A difference is taken resample by resample on the same draw of lesions, as in `evaluation.comparison`: it
# says how far the images drawn may have made it, not what another seed of the training would.


COLUMNS = (
    "arm", "decision", "metric", "value", "low", "high", "difference", "difference_low", "difference_high",
)  # fmt: skip

Row = dict[str, float]
"""value, low, high, difference, difference_low, difference_high; NaN where there is none."""


def compare_arms(tables: Mapping[str, pd.DataFrame], config: EvaluationConfig) -> pd.DataFrame:
    """Score arms on the images that all of them predicted.

    Args:
        tables: out-of-fold predictions by arm, all of the same images in the same order; the first is the
            baseline.
        config: of the bootstrap.

    Returns:
        A row for each arm, decision and metric, `recall_<class>` among them; differences are empty for the
        baseline.
    """
    names = list(tables)
    baseline = tables[names[0]]
    for table in tables.values():
        assert table[["image_id", "target"]].equals(baseline[["image_id", "target"]])
    classes = classes_of(baseline)
    judged = {name: judge(table) for name, table in tables.items()}
    decided = {name: one.decisions for name, one in judged.items()}
    target_N = judged[names[0]].target_N

    def statistic(weights: Floats | None) -> Mapping[Place, Floats]:
        found: dict[Place, Floats] = {}
        for decision in decided[names[0]]:
            of_arms = {name: numbers(target_N, decided[name][decision], classes, weights) for name in names}
            found |= {(decision, *place): value for place, value in with_differences(of_arms).items()}
        return found

    resamples = resamples_of(baseline, target_N, config)
    estimates = estimate(statistic, resamples, level=config.level)
    for name in names:
        for decision, one in decided[name].items():
            own = recall_estimates(target_N, one, classes, resamples, level=config.level)
            estimates |= {(decision, name, "values", *place): found for place, found in own.items()}
    rows = []
    for (decision, name, kind, *metric), value in estimates.items():
        if kind == "values":
            difference = estimates.get((decision, name, "differences", *metric))
            rows.append(_row(name, decision, "_".join(metric), value, difference))
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(COLUMNS[3:], "float64"))


def by_arm(rows: pd.DataFrame) -> dict[str, dict[str, Row]]:
    """The rows of one decision by arm and metric."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows.to_dict("records"):
        numbers = {name: float(row[name]) for name in COLUMNS[3:]}
        found.setdefault(str(row["arm"]), {})[str(row["metric"])] = numbers
    return found


def _row(
    arm: str, decision: str, metric: str, value: Estimate, difference: Estimate | None
) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": arm, "decision": decision, "metric": metric, **value}
    for part in ("value", "low", "high"):
        name = "difference" if part == "value" else f"difference_{part}"
        row[name] = difference[part] if difference is not None else None
    return row
