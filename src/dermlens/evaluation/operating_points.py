"""One group of diagnoses sought among all: thresholds, what they cost, and whether they help.

A threshold is chosen on one role and applied to another: chosen where it is scored, it fits the noise and its
sensitivity is met by construction. The score is the sum of the probabilities of the group's classes.

Shapes: N images, C classes, `...` the leading axes of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dermlens.labels import BY_CODE, Vocabulary
from dermlens.metrics import Bools, Floats, Ints, weighted_mean

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


def net_benefit(
    positive_N: Bools, score_N: Floats, thresholds: Sequence[float] = NET_BENEFIT_THRESHOLDS
) -> list[dict[str, float]]:
    """Net benefit of acting on score ≥ p_t, beside acting on everyone and on no one.

    TP/N − FP/N · p_t/(1 − p_t): true positives less the false ones, weighed as someone does who would accept
    (1 − p_t)/p_t false alarms to catch one. Everyone: prevalence − (1 − prevalence)·p_t/(1 − p_t); no one: 0.
    It supposes that the score is a calibrated probability and that the prevalence is the clinic's; of
    HAM10000's images about 11 % are melanomas, far more than in screening. Source: Vickers and Elkin 2006.

    Args:
        positive_N: which images are sought.
        score_N: probability of the group.
        thresholds: p_t, 0 … 1.

    Returns:
        One {threshold, model, all, none} for each p_t.
    """
    prevalence = float(positive_N.mean())
    curve = []
    for threshold in thresholds:
        odds = threshold / (1 - threshold)
        caught_N = score_N >= threshold
        model = float((caught_N & positive_N).mean() - odds * (caught_N & ~positive_N).mean())
        everyone = prevalence - (1 - prevalence) * odds
        curve.append({"threshold": threshold, "model": model, "all": everyone, "none": 0.0})
    return curve
