"""Class-conditional split conformal sets, on the calibration role, lesion by lesion.

A new lesion of class c is exchangeable with the calibration lesions of class c; images of one lesion are
not with those of another. So a lesion gives one score, that of its worst image, and the promise reads: of
the new lesions of a class, at least 1 − alpha have their class in the set of every image. For one image of
each it holds all the more.

Source: Vovk 2012, "Conditional validity of inductive conformal predictors", section 4, for class-
conditional sets; Sadinle, Lei, Wasserman 2019 for the score, the class's own probability.

Shapes: N images, C classes, L lesions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermlens.calibration.probabilities import lesions_of
from dermlens.metrics import Floats, Ints
from dermlens.predict.decision_document import Sets


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
