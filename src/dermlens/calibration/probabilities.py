"""What a decision is fitted on, lesion by lesion, and calibrated probabilities at equal class shares.

Shapes: N images, C classes, D features, L lesions, K parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dermlens.metrics import Floats, Ints
from dermlens.predict.decision import log_softmax, scaled
from dermlens.predict.decision_document import Scaling


@dataclass(frozen=True, slots=True)
class Labelled:
    """The images of one role.

    Attributes:
        logits_NC: of the network, before any scaling.
        features_ND: what its last layer sees.
        target_N: class indices.
        lesion_N: any names of lesions.
        source_N: names of the data sets or clinics; none for one.
    """

    logits_NC: Floats
    features_ND: NDArray[np.floating]
    target_N: Ints
    lesion_N: NDArray[Any]
    source_N: NDArray[Any] | None = None

    @classmethod
    def of_probabilities(
        cls, p_NC: Floats, target_N: Ints, lesion_N: NDArray[Any], source_N: NDArray[Any] | None = None
    ) -> Labelled:
        """Without features. The logarithms, which lack a constant of each image, stand for logits."""
        log_p_NC = np.log(np.maximum(p_NC, np.finfo(np.float64).eps))
        return cls(log_p_NC, np.empty((len(p_NC), 0)), target_N, lesion_N, source_N)

    @property
    def sources(self) -> NDArray[Any]:
        """The source of each image, as text."""
        return (
            np.full(len(self.target_N), "all")
            if self.source_N is None
            else np.asarray(self.source_N, dtype=str)
        )

    def at(self, where_M: Ints) -> Labelled:
        """The images at these positions."""
        return Labelled(
            self.logits_NC[where_M],
            self.features_ND[where_M],
            self.target_N[where_M],
            self.lesion_N[where_M],
            None if self.source_N is None else self.source_N[where_M],
        )


def lesions_of(target_N: Ints, lesion_N: NDArray[Any]) -> tuple[Ints, Ints]:
    """Number the lesions; images of one lesion with different diagnoses are counted as different lesions.

    Returns:
        index_N, the lesion of each image in 0 … L−1, and target_L.
    """
    _, name_N = np.unique(lesion_N, return_inverse=True)
    pairs_L2, index_N = np.unique(np.stack([name_N, target_N], axis=1), axis=0, return_inverse=True)
    return index_N.reshape(-1).astype(np.int64), pairs_L2[:, 1].astype(np.int64)


def lesion_counts(target_N: Ints, lesion_N: NDArray[Any], classes: int) -> Ints:
    """Lesions of each class, (C,)."""
    return np.bincount(lesions_of(target_N, lesion_N)[1], minlength=classes).astype(np.int64)


def lesion_folds(
    target_N: Ints, lesion_N: NDArray[Any], *, folds: int, seed: int
) -> Iterator[tuple[Ints, Ints]]:
    """Cross-validation that keeps a lesion on one side and spreads each class evenly.

    Yields:
        Where the images to fit on and those to judge by stand, fold by fold.
    """
    index_N, target_L = lesions_of(target_N, lesion_N)
    rng = np.random.default_rng(seed)
    # dealt class by class from a shuffled pack, so that folds differ by one lesion of a class at the most
    order_L = rng.permutation(len(target_L))
    order_L = order_L[np.argsort(target_L[order_L], kind="stable")]
    fold_L = np.empty(len(target_L), dtype=np.int64)
    fold_L[order_L] = np.arange(len(target_L)) % folds
    for fold in range(folds):
        judged_N = fold_L[index_N] == fold
        yield np.flatnonzero(~judged_N), np.flatnonzero(judged_N)


# Fit what turns logits into calibrated probabilities where all classes are equally frequent: one temperature,
# and a bias a class. The prior that an answer is shown for comes in later, and moves nothing else.
#
# Images are weighed, not lesions: it is the probability of an image that is stated and scored.


Kind = Literal["temperature", "bias"]

RIDGE = 0.1
"""Of the parameters' distance from those of the temperature alone, next to a sum over images: it fixes the
constant that may be added to all biases, and keeps a class that is never mistaken from an infinite one."""

HOTTEST = 1e3
"""The highest temperature: logits that say nothing, or the opposite, become nearly even probabilities."""

FOLDS = 5
FEWEST = 5
"""Lesions of a class below which a source does not count for itself: one vascular lesion is no clinic."""


def class_weights(target_N: Ints, prior_C: Floats) -> Floats:
    """What each image counts, (N,), of mean 1: its class's share in the prior over its share here."""
    share_C = np.bincount(target_N, minlength=len(prior_C)) / len(target_N)
    weight_C = np.divide(prior_C, share_C, out=np.zeros_like(prior_C), where=share_C > 0)
    weight_N = weight_C[target_N]
    return np.asarray(weight_N / weight_N.mean())


def even_weights(role: Labelled) -> Floats:
    """What each image counts, (N,), of mean 1, so that classes weigh alike, and in a class its sources.

    Sources with fewer than `FEWEST` lesions of a class count together there.
    """
    weight_N = np.zeros(len(role.target_N))
    for index in np.unique(role.target_N):
        of_class = role.target_N == index
        cell_N = _cells(role.sources[of_class], role.lesion_N[of_class])
        names, place_N, count = np.unique(cell_N, return_inverse=True, return_counts=True)
        weight_N[of_class] = 1 / (len(names) * count[place_N])
    return np.asarray(weight_N / weight_N.mean())


def _cells(source_N: NDArray[Any], lesion_N: NDArray[Any]) -> NDArray[Any]:
    """The sources of a class's images, those of few lesions under one name."""
    few = [name for name in np.unique(source_N) if len(np.unique(lesion_N[source_N == name])) < FEWEST]
    return np.where(np.isin(source_N, few), "", source_N)


def fit_scaling(kind: Kind, logits_NC: Floats, target_N: Ints, weight_N: Floats) -> Scaling:
    """The scaling of least weighted log loss.

    Args:
        kind: `temperature`, or `bias` for a temperature and a bias a class.
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
    start = np.array([beta, *np.zeros(classes)])
    found = _newton(np.concatenate([even_NC1, eye_NCC], axis=2), target_N, weight_N, start, ridge=RIDGE)
    return Scaling(temperature=1 / max(float(found[0]), cold), bias=tuple(found[1:].tolist()))


def fit_even_scaling(role: Labelled) -> tuple[Scaling, Floats]:
    """The scaling that ships, and the probabilities of each image by one that has not seen its lesion.

    Args:
        role: images that nothing was trained on.

    Returns:
        The scaling, with its log loss before and after: the kind of less log loss on lesions that it was not
        fitted on, and a temperature alone where a class has fewer than two lesions. And log-probabilities at
        equal class shares, each by a scaling that was fitted without the image's lesion: sets and marks are
        fitted on these, as on scores that have not seen the truth.
    """
    weight_N, classes = even_weights(role), role.logits_NC.shape[1]
    kinds: tuple[Kind, ...] = ("bias", "temperature")
    rows = np.arange(len(role.target_N))

    def loss(log_p_NC: Floats) -> float:
        return float(-(weight_N * log_p_NC[rows, role.target_N]).mean())

    def out_of_fold(kind: Kind) -> Floats:
        score_NC = np.empty(role.logits_NC.shape)
        for fit_N, judge_N in lesion_folds(role.target_N, role.lesion_N, folds=FOLDS, seed=0):
            if len(judge_N):
                found = fit_scaling(kind, role.logits_NC[fit_N], role.target_N[fit_N], weight_N[fit_N])
                score_NC[judge_N] = scaled(role.logits_NC[judge_N], found)
        return score_NC

    scores = {kind: out_of_fold(kind) for kind in kinds[not _every_class_twice(role, classes) :]}
    kind = min(scores, key=lambda kind: loss(scores[kind]))
    log_loss = {"before": loss(log_softmax(role.logits_NC)), "after": loss(scores[kind])}
    scaling = fit_scaling(kind, role.logits_NC, role.target_N, weight_N)
    return scaling.model_copy(update={"log_loss": log_loss}), scores[kind]


def _every_class_twice(role: Labelled, classes: int) -> bool:
    return all(len(np.unique(role.lesion_N[role.target_N == index])) >= 2 for index in range(classes))


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
