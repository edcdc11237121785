"""How unlike the training images an image is: the arrays of a score, and its threshold.

Shapes: N images, C classes, L lesions, D features, K directions, M points.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dermlens.calibration.probabilities import Labelled, lesions_of
from dermlens.calibration.sets import lower_bound
from dermlens.metrics import Floats, Ints
from dermlens.predict.decision import Arrays, Kind, arrays_sha256, ood_scores, unit
from dermlens.predict.decision_document import Ood

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
