"""Melanoma or malignancy among all diagnoses: thresholds, net benefit, marks of suspicion.

Shapes: N images, C classes, R draws, `...` the leading axes of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.data.predictions import arrays
from dermlens.evaluation.calibration import _finite, line
from dermlens.evaluation.intervals import Estimate, Place, Resamples, estimate, share_within
from dermlens.evaluation.subgroups import TONES, tone_groups
from dermlens.labels import BY_CODE, Vocabulary
from dermlens.metrics import Bools, Floats, Ints, weighted_mean
from dermlens.predict.decision_document import Suspicion

# One group of diagnoses sought among all: thresholds, what they cost, and whether they help.
#
# A threshold is chosen on one role and applied to another: chosen where it is scored, it fits the noise and
# its sensitivity is met by construction. The score is the sum of the probabilities of the group's classes.


SENSITIVITIES = (0.90, 0.95)
PROBABILITIES = (0.05, 0.10, 0.20, 0.30, 0.50)
"""Thresholds that are fixed on nothing: what acting on such a probability would catch, and spare."""
NET_BENEFIT_THRESHOLDS = tuple(percent / 100 for percent in range(2, 21, 2))
THRESHOLD_ROLES = {
    "selection": ("calibration",),
    "calibration": ("selection",),
}
"""Where a role's thresholds come from; every other role (test, external) takes those of `calibration`, or
else of `selection`. With no such role, as under the paper's protocol, a role has only itself, and the point
says it is optimistic."""


def detection_groups(vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """The groups that can be sought with these classes: name → codes of its classes.

    Melanoma wherever `mel` is a class. Malignant against benign where all of a group's codes are there and it
    is known of every class what it is: of the seven with and without akiec, which holds precursors and a
    carcinoma in situ; with own classes, where a recipe calls any of them malignant, as `malignant`.
    """
    classes = vocabulary.classes
    groups: dict[str, tuple[str, ...]] = {"melanoma": ("mel",)}
    if any(code in vocabulary.described for code in vocabulary.malignant):
        groups["malignant"] = vocabulary.malignant
    elif all(code in BY_CODE for code in classes):
        malignant = tuple(code for code, diagnosis in BY_CODE.items() if diagnosis.malignant)
        between = tuple(code for code, diagnosis in BY_CODE.items() if diagnosis.in_situ)
        groups["malignant_with_akiec"] = (*between, *malignant)
        groups["malignant_without_akiec"] = malignant
    return {
        name: codes
        for name, codes in groups.items()
        if set(codes) <= set(classes) and len(codes) < len(classes)
    }


def sought_recall(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Of a role's scores, the recall of melanoma, else of the malignant own classes; empty without."""
    if "mel" in scores["per_class"]:
        return dict(scores["per_class"]["mel"].get("recall") or {})
    return dict((scores["detection"].get("malignant") or {}).get("recall") or {})


def threshold_role(role: str, available: Sequence[str]) -> str:
    """The role whose thresholds `role` is scored with: another one where there is one, else itself."""
    preferred = THRESHOLD_ROLES.get(role, ("calibration", "selection"))
    return next((other for other in preferred if other in available), role)


def group_scores(
    target_N: Ints, p_NC: Floats, classes: Sequence[str], codes: Sequence[str]
) -> tuple[Bools, Floats]:
    """Which images belong to the group, and the probability given to it.

    Returns:
        positive_N and score_N, the sum of the group's probabilities.
    """
    columns = [classes.index(code) for code in codes]
    return np.isin(target_N, columns), p_NC[:, columns].sum(axis=1)


def threshold_at(positive_N: Bools, score_N: Floats, sensitivity: float) -> float | None:
    """The highest threshold at which score ≥ threshold catches the share of the positives; none without
    positives.

    Args:
        positive_N: which images are sought.
        score_N: higher means more likely.
        sensitivity: the share aimed at, 0 … 1.
    """
    falling = np.sort(score_N[positive_N])[::-1]
    if not len(falling):
        return None
    needed = int(np.ceil(sensitivity * len(falling) - 1e-9))  # 0.55 × 100 is 55, whatever the last bit says
    return float(falling[max(needed, 1) - 1])


def rates_at(
    positive_N: Bools, score_N: Floats, threshold: float, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Sensitivity and specificity of score ≥ threshold, each (...); NaN where there is nothing to count."""
    w = np.ones(len(score_N)) if weights is None else weights
    caught_N = score_N >= threshold
    return weighted_mean(caught_N, w * positive_N), weighted_mean(~caught_N, w * ~positive_N)


def benefits_at(
    positive_N: Bools,
    score_N: Floats,
    weights: Floats | None = None,
    thresholds: Sequence[float] = NET_BENEFIT_THRESHOLDS,
) -> Floats:
    """Net benefit of acting on score ≥ p_t as `net_benefit` defines it, −p_t/(1 − p_t) … 1, (..., T)."""
    p_T = np.asarray(thresholds, dtype=np.float64)
    worth_NT = np.where(positive_N[:, None], 1.0, -p_T / (1 - p_T))
    caught_NT = score_N[:, None] >= p_T
    w = np.ones(len(score_N)) if weights is None else weights
    return np.asarray(w @ (caught_NT * worth_NT) / w.sum(axis=-1, keepdims=True))


def net_benefit(
    positive_N: Bools,
    score_N: Floats,
    thresholds: Sequence[float] = NET_BENEFIT_THRESHOLDS,
    intervals: Sequence[Mapping[str, float | None]] | None = None,
) -> list[dict[str, float | None]]:
    """Net benefit of acting on score ≥ p_t, against acting on everyone and on no one.

    TP/N − FP/N · p_t/(1 − p_t): true positives less the false ones, weighed as someone does who would accept
    (1 − p_t)/p_t false alarms to catch one. Everyone: prevalence − (1 − prevalence)·p_t/(1 − p_t); no one: 0.
    It supposes that the score is a calibrated probability and that the prevalence is the clinic's; of
    HAM10000's images about 11 % are melanomas, far more than in screening. Source: Vickers and Elkin 2006.

    Args:
        positive_N: which images are sought.
        score_N: probability of the group.
        thresholds: p_t, 0 … 1.
        intervals: of the model's net benefit, `low` and `high` for each p_t; none leaves them out.

    Returns:
        One {threshold, model, all, none} for each p_t, and with intervals `low` and `high`, of `model`.
    """
    prevalence = float(positive_N.mean())
    model_T = benefits_at(positive_N, score_N, None, thresholds)
    curve: list[dict[str, float | None]] = []
    for index, threshold in enumerate(thresholds):
        everyone = prevalence - (1 - prevalence) * threshold / (1 - threshold)
        point = {"threshold": threshold, "model": float(model_T[index]), "all": everyone, "none": 0.0}
        ends = {} if intervals is None else {end: intervals[index][end] for end in ("low", "high")}
        curve.append({**point, **ends})
    return curve


# What the marks of suspicion catch, and what acting on a flag would mean where malignancy is rare.


PREVALENCES = (0.01, 0.04, 0.10)


class DetectionThresholds:
    """Groups of diagnoses sought in one role, with thresholds fixed on another."""

    def __init__(self, role: str, by_role: dict[str, pd.DataFrame], vocabulary: Vocabulary) -> None:
        self.classes = classes = vocabulary.classes
        self.groups = detection_groups(vocabulary)
        self.source = threshold_role(role, list(by_role))
        self.optimistic = self.source == role
        target_N, p_NC = arrays(by_role[self.source], classes)
        self.thresholds: dict[tuple[str, float], float | None] = {}
        self.positives: dict[str, int] = {}
        for name, codes in self.groups.items():
            positive_N, score_N = group_scores(target_N, p_NC, classes, codes)
            self.positives[name] = int(positive_N.sum())
            for aim in SENSITIVITIES:
                self.thresholds[name, aim] = threshold_at(positive_N, score_N, aim)

    def numbers(self, target_N: Ints, p_NC: Floats, weights: Floats | None) -> dict[Place, Floats]:
        """AUC, sensitivity and specificity at each threshold, of another role and of no role, net benefit."""
        undefined = np.full(() if weights is None else weights.shape[:-1], np.nan)
        found: dict[Place, Floats] = {}
        for name, codes in self.groups.items():
            positive_N, score_N = group_scores(target_N, p_NC, self.classes, codes)
            found["detection", name, "auc"] = metrics.ranking(positive_N, score_N, weights).auc
            found["detection", name, "slope"], found["detection", name, "intercept"] = line(
                positive_N, score_N, weights
            )
            for aim in SENSITIVITIES:
                threshold = self.thresholds[name, aim]
                rates = (
                    (undefined, undefined)
                    if threshold is None
                    else rates_at(positive_N, score_N, threshold, weights)
                )
                found["detection", name, str(aim), "sensitivity"] = rates[0]
                found["detection", name, str(aim), "specificity"] = rates[1]
            for threshold in PROBABILITIES:
                rates = rates_at(positive_N, score_N, threshold, weights)
                found["detection", name, f"at {threshold}", "sensitivity"] = rates[0]
                found["detection", name, f"at {threshold}", "specificity"] = rates[1]
            benefit = benefits_at(positive_N, score_N, weights)
            for index, threshold in enumerate(NET_BENEFIT_THRESHOLDS):
                found["detection", name, f"net benefit at {threshold}"] = benefit[..., index]
        return found

    def recalls(
        self, target_N: Ints, named_N: Ints, resamples: Resamples, *, level: float
    ) -> dict[Place, Estimate]:
        """Of the images of each group, the share for which a class of the group is named."""
        found: dict[Place, Estimate] = {}
        for name, codes in self.groups.items():
            columns = [self.classes.index(code) for code in codes]
            positive_N = np.isin(target_N, columns)
            named_positive_N = np.isin(named_N, columns)
            found["detection", name, "recall"] = share_within(
                named_positive_N, positive_N, resamples, level=level
            )
        return found

    def section(self, target_N: Ints, p_NC: Floats, tree: dict[str, Any]) -> dict[str, Any]:
        """The part of metrics.json, from the estimates of `numbers`."""
        section = {}
        for name, codes in self.groups.items():
            positive_N, score_N = group_scores(target_N, p_NC, self.classes, codes)
            section[name] = {
                "classes": list(codes),
                "positives": int(positive_N.sum()),
                "auc": tree[name]["auc"],
                "recall": tree[name]["recall"],
                "slope": tree[name]["slope"],
                "intercept": tree[name]["intercept"],
                "operating_points": [
                    {
                        "sensitivity_aim": aim,
                        "threshold": self.thresholds[name, aim],
                        "threshold_role": self.source,
                        "threshold_positives": self.positives[name],
                        "optimistic": self.optimistic,
                        **tree[name][str(aim)],
                    }
                    for aim in SENSITIVITIES
                ],
                "at_probability": [
                    {"threshold": threshold, **tree[name][f"at {threshold}"]} for threshold in PROBABILITIES
                ],
                "net_benefit": net_benefit(
                    positive_N,
                    score_N,
                    intervals=[
                        tree[name][f"net benefit at {threshold}"] for threshold in NET_BENEFIT_THRESHOLDS
                    ],
                ),
            }
        return section


def suspicion_section(
    predictions: pd.DataFrame, suspicion: Suspicion, resamples: Resamples, *, level: float
) -> dict[str, Any]:
    """The part of metrics.json on suspicion: at each mark sensitivity, benign images flagged, PPV; by group.

    Args:
        predictions: of one role, answered.
        suspicion: of the model.
        resamples: draws of the role's lesions.
        level: of the intervals.

    Returns:
        `malignant`, `premalignant` and `benign`, numbers of images; `auc` of malignant against benign; and
        `marks`, each with `catches`, `threshold`, `sensitivity` and `benign_flagged` as estimates,
        `premalignant_flagged`, `ppv` and `ppv_interval` by prevalence, `by_source` and, where skin tones are
        known, `by_skin_tone`, whose shares are estimates. Pre-malignant images count on neither side.
    """
    code_N = predictions["target"].to_numpy(dtype=str)
    score_N = predictions["suspicion"].to_numpy(dtype=np.float64)
    malignant_N = np.isin(code_N, suspicion.malignant)
    between_N = np.isin(code_N, suspicion.premalignant)
    benign_N = ~malignant_N & ~between_N
    source_N = (
        predictions["source"].to_numpy(dtype=str) if "source" in predictions else np.full(len(code_N), "")
    )
    found = [str(name) for name in np.unique(source_N)]
    names = found if len(found) > 1 else []
    tone_N = tone_groups(predictions)
    judged_N = ~between_N
    auc = metrics.ranking(malignant_N[judged_N], score_N[judged_N], None).auc
    marks: list[dict[str, Any]] = []
    for mark in suspicion.marks:
        flagged_N = score_N >= mark.threshold
        ppv_by = ppv_estimates(flagged_N, malignant_N, benign_N, resamples, level=level)
        marks.append(
            {
                "catches": mark.catches,
                "threshold": mark.threshold,
                "sensitivity": share_within(flagged_N, malignant_N, resamples, level=level),
                "benign_flagged": share_within(flagged_N, benign_N, resamples, level=level),
                "premalignant_flagged": _share(flagged_N, between_N),
                "ppv": {f"{prevalence:g}": ppv_by[prevalence]["value"] for prevalence in PREVALENCES},
                "ppv_interval": {
                    f"{prevalence:g}": {end: ppv_by[prevalence][end] for end in ("low", "high")}
                    for prevalence in PREVALENCES
                },
                "by_source": {
                    str(name): {
                        "malignant": int((malignant_N & (source_N == name)).sum()),
                        "benign": int((benign_N & (source_N == name)).sum()),
                        "sensitivity": _share(flagged_N, malignant_N & (source_N == name)),
                        "benign_flagged": _share(flagged_N, benign_N & (source_N == name)),
                    }
                    for name in names
                },
            }
        )
        if tone_N is not None:
            marks[-1]["by_skin_tone"] = {
                name: {
                    "malignant": int((malignant_N & inside_N).sum()),
                    "benign": int((benign_N & inside_N).sum()),
                    "sensitivity": share_within(flagged_N, malignant_N & inside_N, resamples, level=level),
                    "benign_flagged": share_within(flagged_N, benign_N & inside_N, resamples, level=level),
                }
                for name in (*TONES, "unknown")
                if (inside_N := (tone_N == name).to_numpy()).any()
            }
    return {
        "malignant": int(malignant_N.sum()),
        "premalignant": int(between_N.sum()),
        "benign": int(benign_N.sum()),
        "auc": _finite(auc),
        "marks": marks,
    }


def _share(flagged_N: Bools, inside_N: Bools) -> float | None:
    return float(flagged_N[inside_N].mean()) if inside_N.any() else None


def ppv(sensitivity: Floats, benign_flagged: Floats, prevalence: float) -> Floats:
    """Of the lesions that are flagged, the share that is malignant where so many are; Bayes' rule.

    Returns:
        (...), as the two rates are; NaN where nothing is flagged.
    """
    caught, false = prevalence * sensitivity, (1 - prevalence) * benign_flagged
    is_any = caught + false > 0
    return np.where(is_any, caught / np.where(is_any, caught + false, 1.0), np.nan)


def ppv_estimates(
    flagged_N: Bools, malignant_N: Bools, benign_N: Bools, resamples: Resamples, *, level: float
) -> dict[float, Estimate]:
    """`ppv` of a flag by prevalence, with percentiles over draws of lesions.

    Args:
        flagged_N: which images are flagged.
        malignant_N: which are malignant.
        benign_N: which are benign; an image may be neither.
        resamples: draws of their lesions; without any there is no interval.
        level: of the intervals.

    Returns:
        {value, low, high} for each of `PREVALENCES`, 0 … 1; null where nothing is malignant, or benign, or
        flagged.
    """

    def numbers(weights: Floats | None) -> dict[tuple[str, ...], Floats]:
        w = np.ones(len(flagged_N)) if weights is None else weights
        caught = weighted_mean(flagged_N, w * malignant_N)
        false = weighted_mean(flagged_N, w * benign_N)
        return {(f"{prevalence:g}",): ppv(caught, false, prevalence) for prevalence in PREVALENCES}

    found = estimate(numbers, resamples, level=level)
    return {prevalence: found[(f"{prevalence:g}",)] for prevalence in PREVALENCES}
