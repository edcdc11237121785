"""How far a number may be off: percentile intervals from a bootstrap over lesions.

Lesions are drawn with replacement, not images: images of one lesion are right and wrong together, and
intervals over images would be too narrow (Field and Welsh 2007 on bootstrapping clustered data). The draw is
stratified by the class of the lesion, as the splits are: every resample has as many lesions of each class as
the role has, so that dermatofibroma, with a dozen lesions, is in all of them, and the intervals hold for the
class mixture at hand. pROC stratifies by default for the same reason (Robin et al. 2011; Carpenter and
Bithell 2000 describe the intervals).

A resample is a row of weights, one per image, so that all resamples of a metric are one matrix product.
Percentile intervals are kept as they are, without bias correction. ECE is biased upwards, and more so in a
resample, so its interval can lie above its value. Where all resamples agree (twelve of twelve recalled) they
say nothing of the uncertainty, and no interval is given: one without width would read as certainty, while
with n of n right the true share may be as low as 1 − 3/n.

Shapes: N images, L lesions, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermlens.metrics import Floats, Ints

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
