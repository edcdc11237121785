"""From a table of predictions to metrics.json: every number, with its interval.

The schema is in docs/metrics.md. A metric that is undefined is null, never 0 and never NaN. Ordinary accuracy
and the counts take the first class of equal probabilities; `balanced_accuracy_isic` alone counts a tie as
wrong.

Shapes: N images, C classes, R resamples, `...` the leading axes of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.data.predictions import arrays, diagnoses, is_answered, shown_at
from dermlens.errors import UserError
from dermlens.evaluation import subgroups
from dermlens.evaluation.calibration import (
    answer_section,
    ece,
    ece_by_chance,
    equal_prior_section,
    line,
    reliability,
)
from dermlens.evaluation.detection import DetectionThresholds, suspicion_section
from dermlens.evaluation.intervals import (
    Estimate,
    Place,
    Resamples,
    estimate,
    mean_recall,
    nest,
    recall,
    resamples_of,
)
from dermlens.labels import Vocabulary
from dermlens.metrics import Floats, Ints
from dermlens.plugins import PluggedMetric
from dermlens.predict.decision_document import DecisionDocument
from dermlens.predict.priors import ClassPrior, shares_by_class
from dermlens.sections import EvaluationConfig

SCHEMA = 1
PARTIAL_AUC_SENSITIVITY = 0.8
HISTOLOGY = ("histo", "histopathology")
"""What HAM10000 and the ISIC archive call a diagnosis that was confirmed by histology."""

INTERVALS = {"recall": "korn_graubard", "mean_recall": "bca", "other": "percentile"}
"""What `low` and `high` are: of a class's recall, of the mean over classes, of everything else."""

ROLE_ORDER = ("train", "selection", "calibration", "test", "external")


def score(
    predictions: pd.DataFrame,
    classes: Sequence[str],
    config: EvaluationConfig,
    *,
    only: Sequence[str] | None = None,
    described: Mapping[str, Mapping[str, Any]] | None = None,
    decision: DecisionDocument | None = None,
    prior: ClassPrior | None = None,
) -> dict[str, Any]:
    """Score a table of predictions, role by role.

    Args:
        predictions: as `read_predictions` gives it; it may hold several roles.
        classes: the classes in the order of the probabilities.
        config: how many resamples, which level, which seed.
        only: the roles to score; the others still serve to fix thresholds on. None for all.
        described: of own classes, `name` and `malignant`, as a recipe's `data.facts` has them.
        decision: of the model that answered the predictions, in its own case mix; none leaves out the
            numbers at equal class shares and at the marks of suspicion.
        prior: another case mix to score them in.

    Returns:
        The content of metrics.json.

    Raises:
        UserError: another case mix is asked for, and nobody has calibrated the model.
    """
    codes = tuple(classes)
    vocabulary = Vocabulary(codes, described)
    if decision is not None and not is_answered(predictions):
        decision = None  # of a model that was calibrated after it had predicted
    own = predictions
    if prior is not None:
        if decision is None or decision.prior is None:
            raise UserError(
                f"these predictions are not calibrated, so prior {prior.name} cannot be asked for"
            )
        predictions = shown_at(predictions, decision, prior)
    shown = prior or (decision.prior if decision is not None else None)
    by_role = {str(role): part for role, part in predictions.groupby("role")}
    wanted = [role for role in by_role if only is None or role in only]
    wanted.sort(key=lambda role: (ROLE_ORDER.index(role) if role in ROLE_ORDER else len(ROLE_ORDER), role))
    return {
        "schema": SCHEMA,
        "classes": list(codes),
        "described": vocabulary.described,
        "decision": "calibrated" if is_answered(predictions) else "argmax",
        "prior": None
        if shown is None
        else {"name": shown.name, "words": shown.words, "shares": shares_by_class(shown, codes)},
        "bootstrap": {
            "replicates": config.bootstrap,
            "level": config.level,
            "seed": config.seed,
            "unit": "lesion",
            "strata": "class",
            "interval": dict(INTERVALS),
        },
        "roles": {
            role: _score_role(role, by_role, vocabulary, config)
            | _scale_and_suspicion(own[own["role"] == role], decision, config)
            for role in wanted
        },
    }


def _scale_and_suspicion(
    predictions: pd.DataFrame, decision: DecisionDocument | None, config: EvaluationConfig
) -> dict[str, Any]:
    """What no case mix moves: calibration at equal class shares, and the marks of suspicion."""
    if decision is None or decision.prior is None:
        return {}
    found: dict[str, Any] = {
        "equal_prior": equal_prior_section(
            predictions, decision, draws=config.bootstrap, seed=config.seed, level=config.level
        )
    }
    if decision.suspicion is not None:
        target_N, _ = arrays(predictions, decision.classes)
        resamples = resamples_of(predictions, target_N, config)
        found["suspicion"] = suspicion_section(predictions, decision.suspicion, resamples, level=config.level)
    return found


def core_numbers(
    target_N: Ints,
    p_NC: Floats,
    classes: Sequence[str],
    weights: Floats | None,
    diagnosis_N: Ints | None = None,
) -> dict[Place, Floats]:
    """What needs truth, probabilities and diagnoses alone: overall, averages, per class.

    Recall, precision, specificity, F1 and what is made of them are of the diagnosis; ECE, Brier score, log
    loss and the areas under curves of the probabilities.

    Args:
        target_N: class indices.
        p_NC: probabilities.
        classes: codes, in the order of the columns.
        weights: (..., N); none for ones.
        diagnosis_N: class indices that are named; none for the highest probability.

    Returns:
        Each metric (...) by its place in metrics.json.
    """
    named_N = metrics.predicted_classes(p_NC) if diagnosis_N is None else diagnosis_N
    counts = metrics.one_vs_rest(target_N, named_N, len(classes), weights)
    numbers: dict[Place, Floats] = {
        ("overall", "accuracy"): metrics.weighted_mean(named_N == target_N, weights),
        ("overall", "balanced_accuracy_ovr"): metrics.balanced_accuracy_ovr(counts),
        ("overall", "balanced_accuracy_isic"): (
            metrics.balanced_accuracy_isic(target_N, p_NC, weights)
            if diagnosis_N is None
            else metrics.macro(counts.recall, counts.support)
        ),
        ("overall", "ece"): ece(target_N, p_NC, weights),
        ("overall", "brier"): metrics.brier(target_N, p_NC, weights),
        ("overall", "log_loss"): metrics.log_loss(target_N, p_NC, weights),
    }
    per_class = {name: getattr(counts, name) for name in ("precision", "recall", "specificity", "f1")}
    rankings = [metrics.ranking(target_N == index, p_NC[:, index], weights) for index in range(len(classes))]
    per_class["auc"] = np.stack([ranking.auc for ranking in rankings], axis=-1)
    per_class["average_precision"] = np.stack([ranking.average_precision for ranking in rankings], axis=-1)
    per_class["partial_auc_sens80"] = np.stack(
        [ranking.partial_auc(PARTIAL_AUC_SENSITIVITY) for ranking in rankings], axis=-1
    )
    micro = counts.micro()
    for name in ("precision", "recall", "specificity", "f1", "auc"):
        numbers["averages", "macro", name] = metrics.macro(per_class[name], counts.support)
        numbers["averages", "weighted", name] = metrics.support_weighted(per_class[name], counts.support)
        numbers["averages", "micro", name] = (
            _micro_auc(target_N, p_NC, weights) if name == "auc" else getattr(micro, name)[..., 0]
        )
    for index, code in enumerate(classes):
        numbers |= {("per_class", code, name): value[..., index] for name, value in per_class.items()}
    return numbers


def recall_estimates(
    target_N: Ints,
    p_NC: Floats,
    classes: Sequence[str],
    resamples: Resamples,
    diagnosis_N: Ints | None,
    *,
    level: float,
) -> dict[Place, Estimate]:
    """Recall and its means again, by place, with intervals that hold for classes of a dozen lesions.

    Args:
        target_N: class indices.
        p_NC: probabilities.
        classes: codes, in the order of the columns.
        resamples: draws of the lesions.
        diagnosis_N: as for `core_numbers`, whose places and values these are.
        level: of the intervals.
    """
    named_N = metrics.predicted_classes(p_NC) if diagnosis_N is None else diagnosis_N
    strict_N = metrics.decided_classes(p_NC) if diagnosis_N is None else diagnosis_N
    found: dict[Place, Estimate] = {
        ("per_class", code, "recall"): recall(target_N, named_N, index, resamples, level=level)
        for index, code in enumerate(classes)
    }
    places = {("overall", "balanced_accuracy_isic"): strict_N, ("averages", "macro", "recall"): named_N}
    return found | {
        place: mean_recall(target_N, of_N, len(classes), resamples, level=level)
        for place, of_N in places.items()
    }


def _micro_auc(target_N: Ints, p_NC: Floats, weights: Floats | None) -> Floats:
    """AUC of all N·C probabilities against whether each is of the true class."""
    truth_NC = target_N[:, None] == np.arange(p_NC.shape[1])
    repeated = None if weights is None else np.repeat(weights, p_NC.shape[1], axis=-1)
    return metrics.ranking(truth_NC.ravel(), p_NC.ravel(), repeated).auc


def _score_role(
    role: str, by_role: dict[str, pd.DataFrame], vocabulary: Vocabulary, config: EvaluationConfig
) -> dict[str, Any]:
    classes = vocabulary.classes
    predictions = by_role[role]
    target_N, p_NC = arrays(predictions, classes)
    diagnosis_N = diagnoses(predictions, classes)
    detection = DetectionThresholds(role, by_role, vocabulary)
    groups = subgroups.find_subgroups(predictions)
    histology_N = _melanoma_or_histology_nevus(predictions) if {"mel", "nv"} <= set(classes) else None

    right_N = metrics.predicted_classes(p_NC) == target_N
    outside = _from_outside(config.metrics)

    def numbers(weights: Floats | None) -> dict[Place, Floats]:
        found = core_numbers(target_N, p_NC, classes, weights, diagnosis_N)
        found |= outside(target_N, p_NC, classes, weights)
        found |= detection.numbers(target_N, p_NC, weights)
        found["calibration", "slope"], found["calibration", "intercept"] = line(
            right_N, p_NC.max(axis=1), weights
        )
        found |= subgroups.subgroup_numbers(target_N, p_NC, classes, groups, weights, diagnosis_N)
        if histology_N is not None and histology_N.any():
            mel = classes.index("mel")
            inside = None if weights is None else weights[..., histology_N]
            ranked = metrics.ranking(target_N[histology_N] == mel, p_NC[histology_N, mel], inside)
            found["melanoma_vs_histology_nevi", "auc"] = ranked.auc
        return found

    resamples = resamples_of(predictions, target_N, config)
    estimates = estimate(numbers, resamples, level=config.level)
    estimates |= recall_estimates(target_N, p_NC, classes, resamples, diagnosis_N, level=config.level)
    named_N = metrics.predicted_classes(p_NC) if diagnosis_N is None else diagnosis_N
    counts = metrics.one_vs_rest(target_N, named_N, len(classes))
    estimates |= detection.recalls(target_N, named_N, resamples, level=config.level)
    estimates |= subgroups.recall_estimates(
        target_N, p_NC, classes, groups, resamples, diagnosis_N, level=config.level
    )
    tree = nest(estimates)
    scored = {
        "images": len(predictions),
        "lesions": int(predictions["lesion_id"].nunique()),
        "classes_present": int((counts.support > 0).sum()),
        "overall": tree["overall"],
        "averages": tree["averages"],
        "per_class": {
            code: {
                **{name: int(getattr(counts, name)[index]) for name in ("support", "tp", "fp", "fn", "tn")},
                **tree["per_class"][code],
            }
            for index, code in enumerate(classes)
        },
        "confusion": metrics.confusion_matrix(target_N, named_N, len(classes)).tolist(),
        "reliability": reliability(target_N, p_NC),
        "calibration": {
            "ece_by_chance": ece_by_chance(
                p_NC, draws=config.bootstrap, seed=config.seed, level=config.level
            ),
            **tree["calibration"],
        },
        "detection": detection.section(target_N, p_NC, tree.get("detection", {})),
    }
    if histology_N is not None and histology_N.any():
        scored["melanoma_vs_histology_nevi"] = {
            **tree["melanoma_vs_histology_nevi"],
            "melanomas": int((predictions["target"] == "mel").sum()),
            "nevi": int((predictions["target"].to_numpy()[histology_N] == "nv").sum()),
        }
    if is_answered(predictions):
        scored["answers"] = answer_section(predictions, vocabulary, resamples, level=config.level)
    if config.metrics:
        scored["plugins"] = tree["plugins"]
    scored["subgroups"] = _subgroup_section(target_N, classes, groups, tree.get("subgroups", {}))
    return scored


def _from_outside(
    chosen: Sequence[PluggedMetric],
) -> Callable[[Ints, Floats, Sequence[str], Floats | None], dict[Place, Floats]]:
    """Metrics from outside, each of images that are drawn: a weight is how often an image comes."""
    found = [(one.kind, *one.resolve()) for one in chosen]

    def numbers(
        target_N: Ints, p_NC: Floats, classes: Sequence[str], weights: Floats | None
    ) -> dict[Place, Floats]:
        rows = np.arange(len(target_N))
        drawn = [rows] if weights is None else [np.repeat(rows, counts.astype(int)) for counts in weights]
        values: dict[Place, Floats] = {}
        for kind, plugin, settings in found:
            value_R = [float(plugin.function(target_N[one], p_NC[one], classes, **settings)) for one in drawn]
            values["plugins", kind] = np.array(value_R[0] if weights is None else value_R)
        return values

    return numbers


def _melanoma_or_histology_nevus(predictions: pd.DataFrame) -> metrics.Bools:
    """Melanomas, and the nevi that looked suspicious enough to be cut out: what is hard to tell apart."""
    nevus = (predictions["target"] == "nv") & predictions["dx_type"].isin(HISTOLOGY)
    return ((predictions["target"] == "mel") | nevus).to_numpy()


def _subgroup_section(
    target_N: Ints, classes: Sequence[str], groups: Sequence[subgroups.Subgroup], tree: dict[str, Any]
) -> dict[str, Any]:
    section: dict[str, Any] = {"sex": {}, "age": {}, "site": {}}
    for group in groups:
        found = tree[group.kind][group.name]
        support_C = subgroups.positives(target_N, classes, group)
        found["per_class_recall"] = {
            code: {**found["per_class_recall"][code], "n": int(support_C[index])}
            for index, code in enumerate(classes)
        }
        section.setdefault(group.kind, {})[group.name] = {"images": int(group.inside.sum()), **found}
    return section
