"""As many draws of a bootstrap as its verdicts need: no verdict hangs on the draws.

A p-value from R draws is an estimate. Of each, Clopper and Pearson's interval says how far it may be off;
Holm's correction rises with every p-value, so done on all lower ends and on all upper ends it encloses what
endless draws would give. A contrast that comes out alike in both is settled; the others are drawn on.

Shapes: K contrasts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from dermlens.metrics import Bools, Floats, Ints
from dermlens.studies.paper.contrasts import ALPHA, holm

BATCH = 10_000
MOST = 400_000
CONFIDENCE = 0.99
"""Of the interval of each p-value."""


def settled(fewer_K: Ints, draws_K: Ints, planned: int, *, confidence: float = CONFIDENCE) -> Bools:
    """Which verdicts more draws would not change.

    Args:
        fewer_K: draws on the rarer side of zero.
        draws_K: all draws.
        planned: how many contrasts were planned, run or not.
        confidence: of the interval of each p-value.
    """
    tail = (1 - confidence) / 2
    low_K = np.where(fewer_K > 0, stats.beta.ppf(tail, np.maximum(fewer_K, 1), draws_K - fewer_K + 1), 0.0)
    high_K = stats.beta.ppf(1 - tail, fewer_K + 1, np.maximum(draws_K - fewer_K, 1))
    ends = [holm(np.minimum(2 * end_K, 1.0), planned) < ALPHA for end_K in (low_K, high_K)]
    return np.asarray(ends[0] == ends[1])


def draw_enough(
    draw: Callable[[Sequence[int], int], Sequence[Floats]],
    contrasts: int,
    planned: int,
    *,
    batch: int = BATCH,
    most: int = MOST,
) -> list[Floats]:
    """Differences of every contrast, drawn batch by batch until every verdict is settled.

    Args:
        draw: from which contrasts and the number of the batch to `batch` differences of each.
        contrasts: K.
        planned: how many were planned, run or not.
        batch: draws at a time.
        most: draws of a contrast after which it is left unsettled.

    Returns:
        The differences of each.
    """
    if not contrasts:
        return []
    found = [np.asarray(first) for first in draw(range(contrasts), 0)]
    for number in range(1, -(-most // batch)):
        fewer_K = np.array([rarer(one) for one in found])
        open_K = ~settled(fewer_K, np.array([len(one) for one in found]), planned)
        if not open_K.any():
            break
        which = np.flatnonzero(open_K).tolist()
        for index, more in zip(which, draw(which, number), strict=True):
            found[index] = np.concatenate([found[index], more])
    return found


def rarer(difference_R: Floats) -> int:
    """Draws on the rarer side of zero."""
    return int(min((difference_R <= 0).sum(), (difference_R >= 0).sum()))
