"""Fix the decision rule on the selection role: the offsets that give the highest mean recall.

Mean recall has steps, and with a dozen dermatofibromas each of them is large. What is maximised is therefore
its smooth form: the mean over classes of the mean over their images of softmax(SHARPNESS · (log p +
offset))_true, which becomes mean recall as SHARPNESS grows.

Shapes: N images, C classes, S steps.
"""

from __future__ import annotations

import numpy as np

from dermlens.decision.document import Rule
from dermlens.decision.labelled import lesion_counts, lesion_folds
from dermlens.decision.probabilities import log_softmax
from dermlens.metrics import Floats, Ints, macro, one_vs_rest

SHARPNESS = 3.0
TAUS = np.linspace(0.0, 2.0, 41)
STEPS = np.linspace(-1.0, 1.0, 21)
SWEEPS = 4
PULL = 0.01
"""A class's offset that is 1 away from −tau · log prior must bring 0.005 of smooth mean recall."""

FOLDS, REPEATS = 5, 4


def fit_rule(
    log_p_NC: Floats, target_N: Ints, lesion_N: np.ndarray, prior_C: Floats, *, seed: int = 0
) -> Rule:
    """The rule of the kind that has the highest mean recall in cross-validation over lesions.

    Of equal kinds the simpler one is taken.

    Args:
        log_p_NC: calibrated for the prior, on the selection role.
        target_N: class indices.
        lesion_N: names of lesions.
        prior_C: class shares that the probabilities are calibrated for.
        seed: of the folds.
    """
    kinds = {"argmax": no_offsets, "logit_adjusted": logit_adjusted, "per_class": per_class}
    recalls: dict[str, list[float]] = {kind: [] for kind in kinds}
    for repeat in range(REPEATS):
        named_N = {kind: np.zeros(len(target_N), dtype=np.int64) for kind in kinds}
        for fit_N, judge_N in lesion_folds(target_N, lesion_N, folds=FOLDS, seed=seed + repeat):
            for kind, fit in kinds.items():
                rule = fit(log_p_NC[fit_N], target_N[fit_N], prior_C)
                named_N[kind][judge_N] = (log_p_NC[judge_N] + np.array(rule.offsets)).argmax(axis=1)
        for kind, named in named_N.items():
            recalls[kind].append(mean_recall(target_N, named, len(prior_C)))
    judged = {kind: float(np.mean(found)) for kind, found in recalls.items()}
    best = max(kinds, key=lambda kind: judged[kind])
    facts = {
        "cross_validated": judged,
        "lesions": tuple(lesion_counts(target_N, lesion_N, len(prior_C)).tolist()),
    }
    return kinds[best](log_p_NC, target_N, prior_C).model_copy(update=facts)


def no_offsets(log_p_NC: Floats, target_N: Ints, prior_C: Floats) -> Rule:
    """The highest probability, whatever the images say."""
    del log_p_NC, target_N
    return Rule(offsets=(0.0,) * len(prior_C))


def logit_adjusted(log_p_NC: Floats, target_N: Ints, prior_C: Floats) -> Rule:
    """offset_c = −tau · log prior_c, the one tau fitted; at 1 the rule is that of equal class shares.

    Source: Menon, Jayasumana, Rawat, Jain, Veit, Kumar 2021, Eq. 9 and its Theorem 1.
    """
    weight_N = _one_a_class(target_N)
    reached = [_smooth_recall(log_p_NC - tau * np.log(prior_C), target_N, weight_N) for tau in TAUS]
    tau = float(TAUS[int(np.argmax(reached))])
    return Rule(kind="logit_adjusted", tau=tau, offsets=tuple((-tau * np.log(prior_C)).tolist()))


def per_class(log_p_NC: Floats, target_N: Ints, prior_C: Floats) -> Rule:
    """One offset a class, by coordinate ascent from the logit-adjusted rule, which pulls at them."""
    start_C = np.array(logit_adjusted(log_p_NC, target_N, prior_C).offsets)
    offset_C = start_C.copy()
    weight_N = _one_a_class(target_N)
    for _ in range(SWEEPS):
        before_C = offset_C.copy()
        for index in range(len(prior_C)):
            away_S = offset_C[index] + STEPS - start_C[index]
            reached_S = _along(log_p_NC + offset_C, target_N, weight_N, index) - PULL / 2 * away_S**2
            offset_C[index] += STEPS[int(np.argmax(reached_S))]
        if np.array_equal(offset_C, before_C):
            break
    return Rule(kind="per_class", offsets=tuple((offset_C - offset_C.mean()).tolist()))


def mean_recall(target_N: Ints, named_N: Ints, classes: int) -> float:
    """Mean of recall over the classes present."""
    counts = one_vs_rest(target_N, named_N, classes)
    return float(macro(counts.recall, counts.support))


def _one_a_class(target_N: Ints) -> Floats:
    """Weights by which every class that is there weighs the same, of sum 1."""
    counts_C = np.bincount(target_N)
    return np.asarray(1 / (counts_C[target_N] * (counts_C > 0).sum()))


def _smooth_recall(weighed_NC: Floats, target_N: Ints, weight_N: Floats) -> float:
    log_q_NC = log_softmax(SHARPNESS * weighed_NC)
    return float(weight_N @ np.exp(log_q_NC[np.arange(len(target_N)), target_N]))


def _along(weighed_NC: Floats, target_N: Ints, weight_N: Floats, index: int) -> Floats:
    """The smooth recall when the offset of one class grows by each of `STEPS`, (S,)."""
    power_NC = np.exp(SHARPNESS * (weighed_NC - weighed_NC.max(axis=1, keepdims=True)))
    factor_S = np.exp(SHARPNESS * STEPS)
    total_NS = power_NC.sum(axis=1)[:, None] + power_NC[:, index, None] * (factor_S - 1)
    true_N = power_NC[np.arange(len(target_N)), target_N]
    true_NS = true_N[:, None] * np.where(target_N[:, None] == index, factor_S, 1.0)
    return np.asarray(weight_N @ (true_NS / total_NS))
