"""Fit what turns logits into calibrated probabilities, on the calibration role.

Images are weighed, not lesions: it is the probability of an image that is stated and scored. Each class is
weighed by its share in the stated prior over its share of the role, so that what comes out is calibrated for
that prior even where the role has another mixture.

Shapes: N images, C classes, K parameters.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from dermlens.decision.document import Scaling
from dermlens.decision.labelled import Labelled, lesion_folds
from dermlens.decision.probabilities import log_softmax, scaled
from dermlens.metrics import Floats, Ints

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
