"""How unlike the training images an image is: three scores, higher for stranger.

Of `mahalanobis` and `knn` the arrays are: `center_D`, taken off the features; `project_DK`, onto K ≤ 64
directions; `points_MK`, the M class means or training images there.

Shapes: N images, C classes, D features, K directions, M points.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dermlens.metrics import Floats

Kind = Literal["energy", "mahalanobis", "knn"]
Arrays = Mapping[str, NDArray[np.float32]]

NAMES = ("center_D", "project_DK", "points_MK")
BLOCK = 1024
"""Images measured together: bounds the memory to BLOCK × M distances."""


def ood_scores(
    kind: Kind,
    logits_NC: Floats,
    features_ND: NDArray[np.floating],
    arrays: Arrays,
    neighbours: int | None = None,
) -> Floats:
    """The score of each image, (N,).

    `energy`: −log Σ_c exp(logit_c) (Liu, Wang, Owens, Li 2020). `mahalanobis`: the squared distance to the
    nearest class mean in directions that are scaled so that the shared covariance is the identity (Lee, Lee,
    Lee, Shin 2018, Eq. 2). `knn`: the distance to the k-th nearest training image, of features of length one
    (Sun, Ming, Zhu, Li 2022).

    Args:
        kind: which.
        logits_NC: before scaling; `energy` reads them alone.
        features_ND: what the last layer sees; `energy` does not look at them.
        arrays: `center_D`, `project_DK`, `points_MK`.
        neighbours: k of `knn`.
    """
    if kind == "energy":
        peak_N = logits_NC.max(axis=1)
        return np.asarray(-(peak_N + np.log(np.exp(logits_NC - peak_N[:, None]).sum(axis=1))))
    nearest = 1 if kind == "mahalanobis" else neighbours
    assert nearest is not None  # the document holds it
    points_MK = arrays["points_MK"].astype(np.float64)
    square_M = (points_MK**2).sum(axis=1)
    scores = []
    for start in range(0, len(features_ND), BLOCK):
        x_BK = project(kind, features_ND[start : start + BLOCK], arrays)
        square_BM = (x_BK**2).sum(axis=1)[:, None] - 2 * x_BK @ points_MK.T + square_M
        square_B = np.partition(square_BM, nearest - 1, axis=1)[:, nearest - 1]
        scores.append(np.maximum(square_B, 0))
    square_N = np.concatenate(scores) if scores else np.empty(0)
    return square_N if kind == "mahalanobis" else np.sqrt(square_N)


def project(kind: Kind, features_ND: NDArray[np.floating], arrays: Arrays) -> Floats:
    """The features where the score measures them, (N, K)."""
    center_D, project_DK = (arrays[name].astype(np.float64) for name in NAMES[:2])
    x_ND = unit(features_ND) if kind == "knn" else np.asarray(features_ND, dtype=np.float64)
    return np.asarray((x_ND - center_D) @ project_DK)


def unit(features_ND: NDArray[np.floating]) -> Floats:
    """Features of length one; zeros stay."""
    x_ND = np.asarray(features_ND, dtype=np.float64)
    length_N = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return np.asarray(np.divide(x_ND, length_N, out=np.zeros_like(x_ND), where=length_N > 0))
