"""The intervals of recall: of a class by its effective sample size, of their mean by BCa.

Recall of a class is a share of its images; `proportions` has its interval. The mean over classes is no share,
and its bootstrap is skewed where a class has a dozen lesions, so its percentiles are corrected for bias and
acceleration (BCa; Efron 1987). Lesions are drawn class by class, and the acceleration is that of a stratified
sample (Davison and Hinkley 1997, eq. 5.30):

    a = Σ_h Σ_i (d_hi / n_h)³ / (6 (Σ_h Σ_i (d_hi / n_h)²)^(3/2)),

d_hi being how far the mean recall without lesion i of class h lies below the average of all such.

Shapes: N images, L lesions, R resamples, C classes.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from dermlens import metrics
from dermlens.evaluation.intervals import BLOCK, DEFINED, Estimate, Resamples
from dermlens.evaluation.proportions import share
from dermlens.metrics import Bools, Floats, Ints

NOTHING: Estimate = {"value": None, "low": None, "high": None}


def recall(target_N: Ints, named_N: Ints, index: int, resamples: Resamples, *, level: float) -> Estimate:
    """Recall of one class.

    Args:
        target_N: class indices.
        named_N: class indices, or `metrics.UNDECIDED`.
        index: of the class.
        resamples: of the same images, whose lesions count; without any draws there is no interval.
        level: 0.95 for 95 %.
    """
    of_class = target_N == index
    found = share(named_N[of_class] == index, resamples.lesion[of_class], level=level)
    return found if len(resamples.counts) else found | {"low": None, "high": None}


def mean_recall(
    target_N: Ints,
    named_N: Ints,
    classes: int,
    resamples: Resamples,
    *,
    level: float,
    inside_N: Bools | None = None,
) -> Estimate:
    """Mean of recall over the classes present.

    Args:
        target_N: class indices.
        named_N: class indices, or `metrics.UNDECIDED`.
        classes: C.
        resamples: draws of their lesions, each within the class of the lesion's first image.
        level: 0.95 for 95 %.
        inside_N: the images that count; none for all.

    Returns:
        {value, low, high}; no interval where the draws do not vary.
    """
    first_L = np.unique(resamples.lesion, return_index=True)[1]
    counted_N = np.ones(len(target_N), dtype=bool) if inside_N is None else inside_N
    lesions = len(first_L)
    images_LC, right_LC = np.zeros((lesions, classes)), np.zeros((lesions, classes))
    at = (resamples.lesion[counted_N], target_N[counted_N])
    np.add.at(images_LC, at, 1)
    np.add.at(right_LC, at, (named_N == target_N)[counted_N])
    value = float(_mean(right_LC.sum(axis=0), images_LC.sum(axis=0)))
    if not np.isfinite(value):
        return NOTHING
    drawn_R = _of_draws(resamples, right_LC, images_LC)
    left_out_L = _mean(right_LC.sum(axis=0) - right_LC, images_LC.sum(axis=0) - images_LC)
    low, high = bca(value, drawn_R, left_out_L, target_N[first_L], level=level)
    return {"value": value, "low": low, "high": high}


def bca(
    value: float, drawn_R: Floats, left_out_L: Floats, stratum_L: Ints, *, level: float
) -> tuple[float | None, float | None]:
    """Percentiles of a stratified bootstrap, corrected for bias and acceleration.

    Args:
        value: the statistic of the sample.
        drawn_R: of each resample.
        left_out_L: of the sample less each of its units.
        stratum_L: of each unit. A stratum of one does not vary and takes no part in the acceleration.
        level: 0.95 for 95 %.

    Returns:
        Both ends; none where too few draws define the statistic, or they do not vary about the value.
    """
    defined = drawn_R[np.isfinite(drawn_R)]
    if not len(drawn_R) or len(defined) < DEFINED * len(drawn_R) or np.ptp(defined) < 1e-12:
        return None, None
    below = float((np.mean(defined < value) + np.mean(defined <= value)) / 2)
    if not 0 < below < 1:
        return None, None
    bias = float(stats.norm.ppf(below))
    cubes = squares = 0.0
    for stratum in np.unique(stratum_L):
        of_stratum = left_out_L[stratum_L == stratum]
        if len(of_stratum) > 1:
            d = (len(of_stratum) - 1) * (of_stratum.mean() - of_stratum) / len(of_stratum)
            cubes += float((d**3).sum())
            squares += float((d**2).sum())
    acceleration = cubes / (6 * squares**1.5) if squares > 0 else 0.0
    z = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(defined, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def _of_draws(resamples: Resamples, right_LC: Floats, images_LC: Floats) -> Floats:
    """(R,): the mean recall of each draw, from counts by lesion."""
    parts = []
    for start in range(0, len(resamples.counts), BLOCK):
        count_RL = resamples.counts[start : start + BLOCK].astype(np.float64)
        parts.append(_mean(count_RL @ right_LC, count_RL @ images_LC))
    return np.concatenate(parts) if parts else np.zeros(0)


def _mean(right: Floats, images: Floats) -> Floats:
    """Mean recall from counts, (..., C) → (...)."""
    recall = np.divide(right, images, out=np.zeros_like(right), where=images > 0)
    return metrics.macro(recall, images)
