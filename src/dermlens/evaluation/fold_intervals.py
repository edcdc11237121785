"""How much folds differ: the mean over trainings with the interval of Student's law.

An interval over lesions says what other lesions would do to the networks at hand. Each fold is another
network, trained on other lesions; what another training would give shows in how far the folds lie apart. With
k folds the mean is x̄ ± t_(k−1) · s/√k. Folds share most of what they were trained on, so this too is
narrower than fresh data would make it (Bengio and Grandvalet 2004: no unbiased estimate of that variance
exists).
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from scipy import stats


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
