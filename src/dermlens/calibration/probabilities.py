"""Calibrated probabilities and the rule that names a diagnosis, fitted on roles that nothing was trained on.

Shapes: N images, C classes, K parameters, S steps.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from dermlens.calibration.labelled import Labelled, lesion_counts, lesion_folds
from dermlens.metrics import Floats, Ints, macro, one_vs_rest
from dermlens.predict.decision import log_softmax, scaled
from dermlens.predict.document import Rule, Scaling

# Fit what turns logits into calibrated probabilities, on the calibration role.
#
# Images are weighed, not lesions: it is the probability of an image that is stated and scored. Each class is
# weighed by its share in the stated prior over its share of the role, so that what comes out is calibrated
# for that prior even where the role has another mixture.


Kind = Literal["temperature", "bias", "vector"]
KINDS: tuple[Kind, ...] = ("temperature", "bias", "vector")

RIDGE = 0.1
"""Of the parameters' distance from those of the temperature alone, beside a sum over images: it fixes the
constant that may be added to all biases, and keeps a class that is never mistaken from an infinite one."""

HOTTEST = 1e3
"""The highest temperature: logits that say nothing, or the opposite, become nearly even probabilities."""

FOLDS, REPEATS = 5, 4


def class_weights(target_N: Ints, prior_C: Floats) -> Floats:
    """What each image counts, (N,), of mean 1: its class's share in the prior over its share here."""
    share_C = np.bincount(target_N, minlength=len(prior_C)) / len(target_N)
    weight_C = np.divide(prior_C, share_C, out=np.zeros_like(prior_C), where=share_C > 0)
    weight_N = weight_C[target_N]
    return np.asarray(weight_N / weight_N.mean())


def fit_scaling(kind: Kind, logits_NC: Floats, target_N: Ints, weight_N: Floats) -> Scaling:
    """The scaling of least weighted log loss.

    Args:
        kind: `temperature`; `bias` for a temperature and a bias a class; `vector` for a scale and a bias a
            class.
        logits_NC: before scaling.
        target_N: class indices; for a bias every class must be there.
        weight_N: of the images.
    """
    even_NC1 = logits_NC[:, :, None]
    cold = 1 / HOTTEST
    beta = max(float(_newton(even_NC1, target_N, weight_N, np.ones(1), ridge=0.0)[0]), cold)
    if kind == "temperature":
        return Scaling(temperature=1 / beta)
    classes = logits_NC.shape[1]
    eye_NCC = np.broadcast_to(np.eye(classes), (len(logits_NC), classes, classes))
    if kind == "bias":
        start = np.array([beta, *np.zeros(classes)])
        found = _newton(np.concatenate([even_NC1, eye_NCC], axis=2), target_N, weight_N, start, ridge=RIDGE)
        return Scaling(temperature=1 / max(float(found[0]), cold), bias=tuple(found[1:].tolist()))
    start = np.concatenate([np.full(classes, beta), np.zeros(classes)])
    design = np.concatenate([even_NC1 * eye_NCC, eye_NCC], axis=2)
    found = _newton(design, target_N, weight_N, start, ridge=RIDGE)
    scale_C = np.maximum(found[:classes], 0.0)
    return Scaling(scale=tuple(scale_C.tolist()), bias=tuple(found[classes:].tolist()))


def choose_scaling(role: Labelled, prior_C: Floats, *, seed: int = 0) -> Scaling:
    """Fit the kind that has the least log loss in cross-validation over lesions.

    Args:
        role: the calibration role.
        prior_C: class shares to be calibrated for.
        seed: of the folds.

    Returns:
        The scaling, fitted on the whole role, with the cross-validated log loss of each kind; where a class
        has fewer than two lesions, only the temperature is tried.
    """
    weight_N = class_weights(role.target_N, prior_C)
    kinds = [kind for kind in KINDS if kind == "temperature" or _every_class_twice(role, len(prior_C))]
    loss = {str(kind): _cross_validated(kind, role, weight_N, seed) for kind in kinds}
    best = min(kinds, key=lambda kind: loss[kind])
    scaling = fit_scaling(best, role.logits_NC, role.target_N, weight_N)
    return scaling.model_copy(update={"cross_validated": loss})


def _every_class_twice(role: Labelled, classes: int) -> bool:
    return all(len(np.unique(role.lesion_N[role.target_N == index])) >= 2 for index in range(classes))


def _cross_validated(kind: Kind, role: Labelled, weight_N: Floats, seed: int) -> float:
    losses = []
    for repeat in range(REPEATS):
        for fit_N, judge_N in lesion_folds(role.target_N, role.lesion_N, folds=FOLDS, seed=seed + repeat):
            scaling = fit_scaling(kind, role.logits_NC[fit_N], role.target_N[fit_N], weight_N[fit_N])
            log_p_NC = scaled(role.logits_NC[judge_N], scaling)
            true_N = log_p_NC[np.arange(len(judge_N)), role.target_N[judge_N]]
            losses.append(-(weight_N[judge_N] * true_N).sum())
    return float(np.sum(losses) / (REPEATS * weight_N.sum()))


def _newton(design_NCK: Floats, target_N: Ints, weight_N: Floats, start_K: Floats, *, ridge: float) -> Floats:
    """Minimise Σ w · log loss + ridge/2 · |θ − start|², convex in θ; log p = log softmax(design · θ)."""
    rows = np.arange(len(target_N))

    def loss(theta_K: Floats) -> float:
        log_p_NC = log_softmax(design_NCK @ theta_K)
        return float(
            -(weight_N * log_p_NC[rows, target_N]).sum() + ridge / 2 * ((theta_K - start_K) ** 2).sum()
        )

    theta_K = start_K.copy()
    best = loss(theta_K)
    for _ in range(100):
        p_NC = np.exp(log_softmax(design_NCK @ theta_K))
        mean_NK = np.einsum("nc,nck->nk", p_NC, design_NCK)
        slope_K = weight_N @ (mean_NK - design_NCK[rows, target_N]) + ridge * (theta_K - start_K)
        spread_NCK = (design_NCK - mean_NK[:, None]) * np.sqrt(p_NC * weight_N[:, None])[:, :, None]
        flat = spread_NCK.reshape(-1, len(theta_K))
        curvature_KK = flat.T @ flat + (ridge + 1e-9) * np.eye(len(theta_K))
        step_K = np.linalg.solve(curvature_KK, slope_K)
        size = 1.0
        while (new := loss(theta_K - size * step_K)) > best and size > 1e-8:
            size /= 2
        if new > best:
            break
        gained, theta_K, best = best - new, theta_K - size * step_K, new
        if gained <= 1e-13 * max(1.0, abs(best)):
            break
    return theta_K


# Fix the decision rule on the selection role: the offsets that give the highest mean recall.
#
# Mean recall has steps, and with a dozen dermatofibromas each of them is large. What is maximised is
# therefore its smooth form: the mean over classes of the mean over their images of softmax(SHARPNESS · (log p
# + offset))_true, which becomes mean recall as SHARPNESS grows.


SHARPNESS = 3.0
TAUS = np.linspace(0.0, 2.0, 41)
STEPS = np.linspace(-1.0, 1.0, 21)
SWEEPS = 4
PULL = 0.01
"""A class's offset that is 1 away from −tau · log prior must bring 0.005 of smooth mean recall."""


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
