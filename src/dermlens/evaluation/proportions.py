"""The interval of a share whose images come in lesions: Clopper and Pearson's, of the effective sample size.

A bootstrap needs many lesions: with a dozen its percentiles are too narrow, and where all images are right it
says nothing at all. Clopper and Pearson's interval (1934) inverts the binomial test, so it holds for any
number of independent images. Images of one lesion are not independent; Korn and Graubard (1998) put the
effective sample size in the place of the number of images:

    n_eff = n / deff · (t_(n−1) / t_(L−1))²,     deff = V / (p (1 − p) / (n − 1)),

V being the variance of the share between lesions (linearised, as for any ratio of two sums) and t the
quantiles of Student's law, which widen the interval where few lesions estimate V. deff below 1 is taken for
1, as the guidelines of the National Center for Health Statistics have it (Parker et al. 2017). Where every
image is right, or none, V is 0 and tells nothing: each lesion then counts once.

With one image a lesion this is exactly Clopper and Pearson's interval.

Shapes: N images, L lesions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dermlens.evaluation.intervals import Estimate
from dermlens.metrics import Bools


def share(right_N: Bools, lesion_N: NDArray[Any], *, level: float) -> Estimate:
    """The share of images that are right, with its interval.

    Args:
        right_N: which images are.
        lesion_N: any names of lesions, one per image.
        level: 0.95 for 95 %.

    Returns:
        {value, low, high}, all null without images.
    """
    images = len(right_N)
    if not images:
        return {"value": None, "low": None, "high": None}
    value = float(np.mean(right_N))
    low, high = clopper_pearson(value, effective_size(right_N, lesion_N, level=level), level=level)
    return {"value": value, "low": low, "high": high}


def effective_size(right_N: Bools, lesion_N: NDArray[Any], *, level: float) -> float:
    """As how many independent images these count, 0 … N; `level` is that of the interval."""
    images = len(right_N)
    _, index_N = np.unique(lesion_N, return_inverse=True)
    images_L = np.bincount(index_N).astype(np.float64)
    lesions = len(images_L)
    p = float(np.mean(right_N))
    if p in (0.0, 1.0) or lesions == 1:
        return float(lesions)
    residual_L = np.bincount(index_N, weights=right_N) - p * images_L
    variance = lesions / (lesions - 1) * float((residual_L**2).sum()) / images**2
    deff = max(1.0, variance / (p * (1 - p) / (images - 1)))
    tail = (1 + level) / 2
    few = float(stats.t.ppf(tail, images - 1) / stats.t.ppf(tail, lesions - 1)) ** 2
    return images / deff * few


def clopper_pearson(value: float, size: float, *, level: float) -> tuple[float, float]:
    """The exact interval of a share of a number of independent images, which need not be whole.

    Args:
        value: the share, 0 … 1.
        size: of how many, above 0.
        level: 0.95 for 95 %.
    """
    right, wrong = value * size, (1 - value) * size
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, right, wrong + 1)) if value > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, right + 1, wrong)) if value < 1 else 1.0
    return low, high
