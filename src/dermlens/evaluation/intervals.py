"""How far a number may be off: bootstraps over lesions, and laws for few images and few folds.

Shapes: N images, L lesions, R resamples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dermlens import metrics
from dermlens.metrics import Bools, Floats, Ints
from dermlens.sections import EvaluationConfig

# Lesions are drawn with replacement, not images: images of one lesion are right and wrong together, and
# intervals over images would be too narrow (Field and Welsh 2007 on bootstrapping clustered data). The draw
# is stratified by the class of the lesion, as the splits are: every resample has as many lesions of each
# class as the role has, so that dermatofibroma, with a dozen lesions, is in all of them, and the intervals
# hold for the class mixture at hand. pROC stratifies by default for the same reason (Robin et al. 2011;
# Carpenter and Bithell 2000 describe the intervals).
#
# A resample is a row of weights, one per image, so that all resamples of a metric are one matrix product.
# Percentile intervals are kept as they are, without bias correction. ECE is biased upwards, and more so in a
# resample, so its interval can lie above its value. Where all resamples agree (twelve of twelve recalled)
# they say nothing of the uncertainty, and no interval is given: one without width would read as certainty,
# while with n of n right the true share may be as low as 1 − 3/n.


BLOCK = 64
"""Resamples scored together: bounds the memory, about 64 × N × C numbers at the widest."""

DEFINED = 0.95
"""An interval is given where at least this share of the resamples defines the metric, and they differ."""

Place = tuple[str, ...]
Numbers = Mapping[Place, Floats]
"""Metrics by their place in metrics.json, each with the leading axes of the weights."""

Estimate = dict[str, float | None]
"""value, low, high: all null where undefined."""


@dataclass(frozen=True, slots=True)
class Resamples:
    """Draws of lesions.

    Attributes:
        counts: (R, L), how often each lesion was drawn.
        lesion: (N,), the lesion of each image, 0 … L−1.
    """

    counts: NDArray[np.int16]
    lesion: Ints

    def blocks(self) -> Iterator[Floats]:
        """Weights of the images, (≤ BLOCK, N) at a time."""
        for start in range(0, len(self.counts), BLOCK):
            yield self.counts[start : start + BLOCK, self.lesion].astype(np.float64)


def draw_lesions(lesion_N: NDArray[Any], stratum_N: Ints, *, replicates: int, seed: int) -> Resamples:
    """Draw lesions with replacement within each stratum.

    Args:
        lesion_N: any names of lesions, one per image.
        stratum_N: the class of each image; a lesion belongs to the stratum of its first image.
        replicates: R; 0 for none.
        seed: of the draw. Equal images and seed give equal draws, whatever is scored, which pairs
            comparisons.
    """
    _, first_L, index_N = np.unique(lesion_N, return_index=True, return_inverse=True)
    stratum_L = stratum_N[first_L]
    count_RL = np.zeros((replicates, len(first_L)), dtype=np.int16)
    rng = np.random.default_rng(seed)
    for stratum in np.unique(stratum_L):
        members = np.flatnonzero(stratum_L == stratum)
        count_RL[:, members] = rng.multinomial(
            len(members), np.full(len(members), 1 / len(members)), size=replicates
        )
    return Resamples(count_RL, index_N.astype(np.int64))


def resamples_of(predictions: pd.DataFrame, stratum_N: Ints, config: EvaluationConfig) -> Resamples:
    """`draw_lesions` for a table with the column `lesion_id`, with the replicates and seed of `config`."""
    lesion_N = predictions["lesion_id"].to_numpy(dtype=str)
    return draw_lesions(lesion_N, stratum_N, replicates=config.bootstrap, seed=config.seed)


def estimate(
    statistic: Callable[[Floats | None], Numbers], resamples: Resamples, *, level: float
) -> dict[Place, Estimate]:
    """Values on the images as they are, and the percentile interval of each over the resamples.

    Args:
        statistic: metrics from weights (R, N), or from none for the images as they are.
        resamples: the draws; without any the intervals are null.
        level: 0.95 for the 2.5th and 97.5th percentile.

    Returns:
        {value, low, high} for every path of the statistic.
    """
    values = statistic(None)
    drawn = [statistic(weights) for weights in resamples.blocks()]
    tails = [(1 - level) / 2, (1 + level) / 2]
    estimates: dict[Place, Estimate] = {}
    for path, value in values.items():
        low, high = (
            _percentiles(np.concatenate([block[path] for block in drawn]), tails) if drawn else (None, None)
        )
        if np.isfinite(value):
            estimates[path] = {"value": float(value), "low": low, "high": high}
        else:
            estimates[path] = {"value": None, "low": None, "high": None}
    return estimates


def with_differences(numbers: Mapping[str, Numbers]) -> dict[Place, Floats]:
    """Numbers of several models on one draw of lesions, and of all but the first their differences to it.

    Returns:
        Values by `name, "values", …` and differences by `name, "differences", …`, model by model.
    """
    first = next(iter(numbers.values()))
    found: dict[Place, Floats] = {}
    for name, own in numbers.items():
        found |= {(name, "values", *place): value for place, value in own.items()}
        if own is not first:
            found |= {(name, "differences", *place): value - first[place] for place, value in own.items()}
    return found


def nest(entries: Mapping[Place, Any]) -> dict[str, Any]:
    """A tree of dictionaries from paths."""
    tree: dict[str, Any] = {}
    for path, entry in entries.items():
        branch = tree
        for name in path[:-1]:
            branch = branch.setdefault(name, {})
        branch[path[-1]] = entry
    return tree


def _percentiles(value_R: Floats, tails: list[float]) -> tuple[float | None, float | None]:
    defined = value_R[np.isfinite(value_R)]
    if len(defined) < DEFINED * len(value_R) or np.ptp(defined) < 1e-12:
        return None, None
    low, high = np.quantile(defined, tails)
    return float(low), float(high)


# The interval of a share whose images come in lesions: Clopper and Pearson's, of the effective sample size.
#
# A bootstrap needs many lesions: with a dozen its percentiles are too narrow, and where all images are right
# it says nothing at all. Clopper and Pearson's interval (1934) inverts the binomial test, so it holds for any
# number of independent images. Images of one lesion are not independent; Korn and Graubard (1998) put the
# effective sample size in the place of the number of images:
#
#     n_eff = n / deff · (t_(n−1) / t_(L−1))²,     deff = V / (p (1 − p) / (n − 1)),
#
# V being the variance of the share between lesions (linearised, as for any ratio of two sums) and t the
# quantiles of Student's law, which widen the interval where few lesions estimate V. deff below 1 is taken for
# 1, as the guidelines of the National Center for Health Statistics have it (Parker et al. 2017). Where every
# image is right, or none, V is 0 and tells nothing: each lesion then counts once.
#
# With one image a lesion this is exactly Clopper and Pearson's interval.


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


def share_within(yes_N: Bools, inside_N: Bools, resamples: Resamples, *, level: float) -> Estimate:
    """`share` of the images inside; without an interval where there are no draws."""
    found = share(yes_N[inside_N], resamples.lesion[inside_N], level=level)
    return found if len(resamples.counts) else found | {"low": None, "high": None}


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


# The intervals of recall: of a class by its effective sample size, of their mean by BCa.
#
# Recall of a class is a share of its images; `proportions` has its interval. The mean over classes is no
# share, and its bootstrap is skewed where a class has a dozen lesions, so its percentiles are corrected for
# bias and acceleration (BCa; Efron 1987). Lesions are drawn class by class, and the acceleration is that of a
# stratified sample (Davison and Hinkley 1997, eq. 5.30):
#
#     a = Σ_h Σ_i (d_hi / n_h)³ / (6 (Σ_h Σ_i (d_hi / n_h)²)^(3/2)),
#
# d_hi being how far the mean recall without lesion i of class h lies below the average of all such.


def recall(target_N: Ints, named_N: Ints, index: int, resamples: Resamples, *, level: float) -> Estimate:
    """Recall of one class.

    Args:
        target_N: class indices.
        named_N: class indices, or `metrics.UNDECIDED`.
        index: of the class.
        resamples: of the same images, whose lesions count; without any draws there is no interval.
        level: 0.95 for 95 %.
    """
    return share_within(named_N == index, target_N == index, resamples, level=level)


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
        return {"value": None, "low": None, "high": None}
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


# How much folds differ: the mean over trainings with the interval of Student's law.
#
# An interval over lesions says what other lesions would do to the networks at hand. Each fold is another
# network, trained on other lesions; what another training would give shows in how far the folds lie apart.
# With k folds the mean is x̄ ± t_(k−1) · s/√k. Folds share most of what they were trained on, so this too is
# narrower than fresh data would make it (Bengio and Grandvalet 2004: no unbiased estimate of that variance
# exists).


def over_folds(values: Sequence[float], *, level: float) -> dict[str, Any]:
    """The mean of one number over folds and its interval.

    Args:
        values: the number in each fold.
        level: 0.95 for 95 %.

    Returns:
        `values`, `mean`, `low` and `high`; the last two null with fewer than two folds.
    """
    mean = fmean(values)
    low = high = None
    if len(values) > 1:
        half = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * stdev(values) / len(values) ** 0.5
        low, high = mean - half, mean + half
    return {"values": list(values), "mean": mean, "low": low, "high": high}
