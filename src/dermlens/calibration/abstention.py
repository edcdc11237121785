"""Conformal sets, how unlike the training images an image is, and marks of suspicion.

Shapes: N images, C classes, L lesions, D features, K directions, M points.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermlens.calibration.probabilities import Labelled, lesions_of
from dermlens.metrics import Floats, Ints
from dermlens.predict.decision import Arrays, Kind, arrays_sha256, ood_scores, unit
from dermlens.predict.decision_document import Mark, MarkAt, Ood, Sets, Suspicion

# Class-conditional split conformal sets, on the calibration role, lesion by lesion.
#
# A new lesion of class c is exchangeable with the calibration lesions of class c; images of one lesion are
# not with those of another. So a lesion gives one score, that of its worst image, and the promise reads: of
# the new lesions of a class, at least 1 − alpha have their class in the set of every image. For one image of
# each it holds all the more.
#
# Source: Vovk 2012, "Conditional validity of inductive conformal predictors", section 4, for class-
# conditional sets; Sadinle, Lei, Wasserman 2019 for the score, the class's own probability.


def fewest_lesions(alpha: float) -> int:
    """With fewer lesions no threshold above 0 keeps 1 − alpha: 9 for a tenth."""
    return math.ceil(1 / alpha - 1e-9) - 1


def lower_bound(score_L: Floats, alpha: float) -> float:
    """The highest t for which a new score reaches t with probability 1 − alpha; −∞ if there are too few."""
    rank = math.floor(alpha * (len(score_L) + 1) + 1e-9)
    return float(np.sort(score_L)[rank - 1]) if rank >= 1 else -math.inf


def fit_sets(
    p_NC: Floats, target_N: Ints, lesion_N: NDArray[Any], classes: Sequence[str], *, alpha: float = 0.1
) -> Sets:
    """A threshold a class.

    Classes with too few lesions for one of their own share the threshold of the rarest classes taken
    together, as many of them as are needed to have enough lesions. For those the promise holds on the average
    over the pool alone, not class by class; a class that only lends its lesions keeps its own threshold. A
    class without a lesion is in every set.

    Args:
        p_NC: softmax before scaling, or any scores that have not seen these images' truth.
        target_N: class indices.
        lesion_N: names of lesions.
        classes: codes.
        alpha: a class's share of lesions that the set may miss.
    """
    index_N, target_L = lesions_of(target_N, lesion_N)
    worst_L = np.full(len(target_L), np.inf)
    np.minimum.at(worst_L, index_N, p_NC[np.arange(len(target_N)), target_N])
    count_C = np.bincount(target_L, minlength=len(classes))
    enough = fewest_lesions(alpha)
    pooled = [index for index in range(len(classes)) if count_C[index] < enough]
    pool: list[int] = []
    if pooled:
        rarest_first = np.argsort(count_C, kind="stable").tolist()
        sizes = np.cumsum(count_C[rarest_first])
        needed = max(len(pooled), int(np.searchsorted(sizes, enough)) + 1)
        pool = sorted(rarest_first[:needed])
    shared = lower_bound(worst_L[np.isin(target_L, pool)], alpha)
    own = [lower_bound(worst_L[target_L == index], alpha) for index in range(len(classes))]
    # a class without a lesion has no part in the average over the pool: it is let into every set
    given = [
        -math.inf if not count_C[index] else shared if index in pooled else own[index]
        for index in range(len(classes))
    ]
    return Sets(
        alpha=alpha,
        thresholds=tuple(max(bound, 0.0) for bound in given),
        lesions=tuple(count_C.tolist()),
        pooled=tuple(classes[index] for index in pooled),
        pool=tuple(classes[index] for index in pool),
    )


DIRECTIONS = 64
BANK = 1024
"""Training images that `knn` keeps: 256 KB of them."""
NEIGHBOURS = 10
KEPT = 0.95
"""Share of lesions that are in-distribution."""
RIDGE = 1e-6
"""Added to the shared covariance, as a share of its mean variance: a direction may not vary at all."""


def fit_arrays(kind: Kind, train: Labelled) -> dict[str, NDArray[np.float32]]:
    """The arrays of a score, from the training role; `energy` has none.

    The images that `knn` keeps are drawn evenly over the classes as far as these have them.
    """
    if kind == "energy":
        return {}
    x_ND = unit(train.features_ND) if kind == "knn" else np.asarray(train.features_ND, dtype=np.float64)
    center_D = x_ND.mean(axis=0)
    project_DK = principal_directions(x_ND - center_D)
    x_NK = (x_ND - center_D) @ project_DK
    if kind == "knn":
        points_MK = x_NK[_spread(train.target_N, np.random.default_rng(0))]
    else:
        present = np.unique(train.target_N)
        means_CK = np.stack([x_NK[train.target_N == index].mean(axis=0) for index in present])
        within_NK = x_NK - means_CK[np.searchsorted(present, train.target_N)]
        covariance_KK = within_NK.T @ within_NK / len(within_NK)
        floor = RIDGE * np.trace(covariance_KK) / len(covariance_KK) + np.finfo(np.float32).tiny
        factor_KK = np.linalg.cholesky(covariance_KK + floor * np.eye(len(covariance_KK)))
        whiten_KK = np.linalg.inv(factor_KK).T
        project_DK, points_MK = project_DK @ whiten_KK, means_CK @ whiten_KK
    found = {"center_D": center_D, "project_DK": project_DK, "points_MK": points_MK}
    return {name: array.astype(np.float32) for name, array in found.items()}


def principal_directions(centered_ND: Floats) -> Floats:
    """The directions of the largest variance, (D, K): orthonormal, K no more than there are."""
    variance_D, direction_DD = np.linalg.eigh(centered_ND.T @ centered_ND / len(centered_ND))
    varies = int((variance_D > 1e-10 * variance_D[-1]).sum())
    return np.asarray(direction_DD[:, ::-1][:, : max(1, min(DIRECTIONS, varies))])


def fit_ood(kind: Kind, train: Labelled, calibration: Labelled) -> tuple[Ood, Arrays]:
    """A score with its threshold: a new lesion of the same kind stays below it with probability `KEPT`.

    As for the sets, a lesion counts by its worst image.

    Args:
        kind: which score.
        train: the training role.
        calibration: the calibration role.

    Returns:
        The score, and its arrays.
    """
    arrays = fit_arrays(kind, train)
    neighbours = min(NEIGHBOURS, len(arrays["points_MK"])) if kind == "knn" else None
    score_N = ood_scores(kind, calibration.logits_NC, calibration.features_ND, arrays, neighbours)
    index_N, target_L = lesions_of(calibration.target_N, calibration.lesion_N)
    worst_L = np.full(len(target_L), -np.inf)
    np.maximum.at(worst_L, index_N, score_N)
    bound = -lower_bound(-worst_L, 1 - KEPT)
    ood = Ood(
        kind=kind,
        # with fewer lesions than a share needs, the least typical of them is still in-distribution
        threshold=bound if np.isfinite(bound) else float(worst_L.max()),
        kept=KEPT,
        neighbours=neighbours,
        sha256=arrays_sha256(arrays) if arrays else None,
    )
    return ood, arrays


def _spread(target_N: Ints, rng: np.random.Generator) -> Ints:
    """Up to `BANK` images, the rare classes whole."""
    shuffled = rng.permutation(len(target_N))
    turn_N = np.empty(len(target_N), dtype=np.int64)
    for index in np.unique(target_N):
        members = shuffled[target_N[shuffled] == index]
        turn_N[members] = np.arange(len(members))
    return np.sort(shuffled[np.argsort(turn_N[shuffled], kind="stable")[:BANK]]).astype(np.int64)


CATCHES = (0.90, 0.95)
"""Shares of malignant lesions that marks are set to catch."""


FEWEST_MALIGNANT = 100
"""Malignant lesions of a source that has a mark of its own.

Of 100 lesions five are missed by the mark for 95, and that share has a standard error of two in a hundred;
with fewer, single lesions would move the mark.
"""


def image_bound(score_N: Floats, index_N: Ints, alpha: float) -> float:
    """The highest t that an image of a new lesion reaches with probability 1 − alpha; −∞ for too few.

    Each lesion weighs alike, however many images it has. With one image a lesion it is `lower_bound`.

    Source: Lee, Barber, Willett 2023, "Distribution-free inference with hierarchical data", section 3.

    Args:
        score_N: of images.
        index_N: the lesion of each; the numbers need not be contiguous.
        alpha: probability of a score below the bound.
    """
    _, place_N, images_L = np.unique(index_N, return_inverse=True, return_counts=True)
    order = np.argsort(score_N, kind="stable")
    weight_N = 1 / images_L[place_N][order]
    below_N = np.cumsum(weight_N) - weight_N
    allowed = below_N <= alpha * (len(images_L) + 1) - 1 + 1e-9
    return float(score_N[order][allowed.sum() - 1]) if allowed.any() else -math.inf


def fit_marks(
    suspicion: Suspicion,
    suspicion_N: Floats,
    target_N: Ints,
    lesion_N: NDArray[Any],
    source_N: NDArray[Any],
    classes: Sequence[str],
) -> tuple[Mark, ...]:
    """A mark for each of `CATCHES`: the lowest of the sources' own.

    A source's own mark is the highest that one image of a new malignant lesion of it reaches with the
    probability that is asked for. Sources with fewer malignant lesions than `FEWEST_MALIGNANT` are taken
    together, with the next smaller ones until there are so many. Pre-malignant lesions count on neither side.

    Args:
        suspicion: which classes are malignant, and which in between.
        suspicion_N: of images, by probabilities that have not seen their truth.
        target_N: class indices.
        lesion_N: names of lesions.
        source_N: names of sources.
        classes: codes.

    Returns:
        Nothing where there is no malignant lesion.
    """
    index_N, target_L = lesions_of(target_N, lesion_N)
    source_L = np.empty(len(target_L), dtype=source_N.dtype)
    source_L[index_N] = source_N
    code_L = np.asarray(classes)[target_L]
    malignant_L = np.isin(code_L, suspicion.malignant)
    benign_L = ~malignant_L & ~np.isin(code_L, suspicion.premalignant)
    if not malignant_L.any():
        return ()
    images_L = np.bincount(index_N)
    of_group = _groups(source_L[malignant_L])
    marks = []
    for catches in CATCHES:
        own = {}
        for name, sources in of_group.items():
            of_N = (malignant_L & np.isin(source_L, sources))[index_N]
            bound = image_bound(suspicion_N[of_N], index_N[of_N], 1 - catches)
            own[name] = bound if np.isfinite(bound) else float(suspicion_N[of_N].min())
        lowest = min(own, key=lambda name: own[name])
        threshold = own[lowest]
        flagged_L = np.bincount(index_N, suspicion_N >= threshold) / images_L
        by_source = {
            str(name): MarkAt(
                threshold=own.get(str(name)),
                malignant=int((of_L := source_L == name)[malignant_L].sum()),
                benign=int(of_L[benign_L].sum()),
                caught=_mean(flagged_L[malignant_L & of_L]),
                benign_flagged=_mean(flagged_L[benign_L & of_L]),
            )
            for name in np.unique(source_L)
        }
        shares = [at.benign_flagged for at in by_source.values() if at.benign_flagged is not None]
        marks.append(
            Mark(
                catches=catches,
                threshold=max(float(threshold), 0.0),
                source=lowest,
                benign_flagged=float(np.mean(shares)) if shares else None,
                by_source=by_source,
            )
        )
    return tuple(marks)


def _groups(source_L: NDArray[Any]) -> dict[str, list[str]]:
    """Sources with a mark of their own, by its name; smaller ones are one group, joined with a plus sign.

    Args:
        source_L: names of the malignant lesions' sources.
    """
    names, count_S = np.unique(source_L, return_counts=True)
    groups = {str(name): [str(name)] for name in names[count_S >= FEWEST_MALIGNANT]}
    few = int((count_S < FEWEST_MALIGNANT).sum())
    if few:
        smallest_first = np.argsort(count_S, kind="stable")
        enough = int(np.searchsorted(np.cumsum(count_S[smallest_first]), FEWEST_MALIGNANT)) + 1
        pool = sorted(names[smallest_first[: max(few, enough)]].tolist())
        groups[" + ".join(pool)] = pool
    return groups


def _mean(value_L: NDArray[Any]) -> float | None:
    return float(value_L.mean()) if len(value_L) else None
