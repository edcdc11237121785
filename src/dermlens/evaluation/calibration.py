"""Whether a stated probability comes true: reliability bins and the expected calibration error.

Both look at the highest probability of each image alone (top-label calibration). Source: Guo, Pleiss, Sun,
Weinberger 2017, Eq. 3–5, with their 15 bins of equal width.

Shapes: N images, C classes, B bins.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from dermlens.metrics import Floats, Ints, predicted_classes, weighted_mean

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose highest probability lies in (low, high].

    Attributes:
        low, high: the bin.
        count: images in it.
        confidence, accuracy: their mean highest probability and the share named rightly; none for an empty
            bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def ece(target_N: Ints, p_NC: Floats, weights: Floats | None = None, bins: int = BINS) -> Floats:
    """Expected calibration error: Σ_b n_b/N · |accuracy_b − confidence_b|, (...).

    Args:
        target_N: class indices.
        p_NC: probabilities.
        weights: (..., N); none for ones.
        bins: B, of equal width over 0 … 1.
    """
    inside_NB = (bin_of(p_NC, bins)[:, None] == np.arange(bins)).astype(np.float64)
    gap_NB = (_right(target_N, p_NC) - p_NC.max(axis=1))[:, None] * inside_NB
    w = np.ones(len(target_N)) if weights is None else weights
    return np.asarray(np.abs(w @ gap_NB).sum(axis=-1) / w.sum(axis=-1))


def reliability(target_N: Ints, p_NC: Floats, bins: int = BINS) -> list[dict[str, float | int | None]]:
    """The bins of the reliability diagram, empty ones included, as plain numbers."""
    edges, where_N = _edges(bins), bin_of(p_NC, bins)
    right_N, confidence_N = _right(target_N, p_NC), p_NC.max(axis=1)
    found = []
    for index in range(bins):
        inside_N = where_N == index
        count = int(inside_N.sum())
        found.append(
            Bin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                count=count,
                confidence=float(weighted_mean(confidence_N[inside_N])) if count else None,
                accuracy=float(weighted_mean(right_N[inside_N])) if count else None,
            )
        )
    return [asdict(entry) for entry in found]


def _right(target_N: Ints, p_NC: Floats) -> Floats:
    return np.asarray(predicted_classes(p_NC) == target_N, dtype=np.float64)


def _edges(bins: int) -> Floats:
    return np.linspace(0.0, 1.0, bins + 1)


def bin_of(p_NC: Floats, bins: int) -> Ints:
    """Which bin (low, high] holds each highest probability."""
    found = np.searchsorted(_edges(bins), p_NC.max(axis=1), side="left") - 1
    return np.asarray(np.clip(found, 0, bins - 1), dtype=np.int64)
