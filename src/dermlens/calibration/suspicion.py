"""Marks of suspicion: where a share of malignant lesions is caught, in every source.

Shapes: N images, L lesions, S sources.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermlens.calibration.probabilities import lesions_of
from dermlens.metrics import Floats, Ints
from dermlens.predict.decision_document import Mark, MarkAt, Suspicion

CATCHES = (0.90, 0.95)
"""Shares of malignant lesions that marks are set to catch."""


FEWEST_MALIGNANT = 100
"""Malignant lesions of a source that has a mark of its own.

Of 100 lesions five are missed by the mark for 95, and that share has a standard error of two in a hundred;
with fewer, single lesions would move the mark.
"""


def image_bound(score_N: Floats, index_N: Ints, alpha: float) -> float:
    """The highest t that an image of a new lesion reaches with probability 1 − alpha; −∞ for too few.

    Each lesion weighs alike, however many images it has. With one image a lesion it is `lower_bound`.

    Source: Lee, Barber, Willett 2023, "Distribution-free inference with hierarchical data", section 3.

    Args:
        score_N: of images.
        index_N: the lesion of each; the numbers need not be contiguous.
        alpha: probability of a score below the bound.
    """
    _, place_N, images_L = np.unique(index_N, return_inverse=True, return_counts=True)
    order = np.argsort(score_N, kind="stable")
    weight_N = 1 / images_L[place_N][order]
    below_N = np.cumsum(weight_N) - weight_N
    allowed = below_N <= alpha * (len(images_L) + 1) - 1 + 1e-9
    return float(score_N[order][allowed.sum() - 1]) if allowed.any() else -math.inf


def fit_marks(
    suspicion: Suspicion,
    suspicion_N: Floats,
    target_N: Ints,
    lesion_N: NDArray[Any],
    source_N: NDArray[Any],
    classes: Sequence[str],
) -> tuple[Mark, ...]:
    """A mark for each of `CATCHES`: the lowest of the sources' own.

    A source's own mark is the highest that one image of a new malignant lesion of it reaches with the
    probability that is asked for. Sources with fewer malignant lesions than `FEWEST_MALIGNANT` are taken
    together, with the next smaller ones until there are so many. Pre-malignant lesions count on neither side.

    Args:
        suspicion: which classes are malignant, and which in between.
        suspicion_N: of images, by probabilities that have not seen their truth.
        target_N: class indices.
        lesion_N: names of lesions.
        source_N: names of sources.
        classes: codes.

    Returns:
        Nothing where there is no malignant lesion.
    """
    index_N, target_L = lesions_of(target_N, lesion_N)
    source_L = np.empty(len(target_L), dtype=source_N.dtype)
    source_L[index_N] = source_N
    code_L = np.asarray(classes)[target_L]
    malignant_L = np.isin(code_L, suspicion.malignant)
    benign_L = ~malignant_L & ~np.isin(code_L, suspicion.premalignant)
    if not malignant_L.any():
        return ()
    images_L = np.bincount(index_N)
    of_group = _groups(source_L[malignant_L])
    marks = []
    for catches in CATCHES:
        own = {}
        for name, sources in of_group.items():
            of_N = (malignant_L & np.isin(source_L, sources))[index_N]
            bound = image_bound(suspicion_N[of_N], index_N[of_N], 1 - catches)
            own[name] = bound if np.isfinite(bound) else float(suspicion_N[of_N].min())
        lowest = min(own, key=lambda name: own[name])
        threshold = own[lowest]
        flagged_L = np.bincount(index_N, suspicion_N >= threshold) / images_L
        by_source = {
            str(name): MarkAt(
                threshold=own.get(str(name)),
                malignant=int((of_L := source_L == name)[malignant_L].sum()),
                benign=int(of_L[benign_L].sum()),
                caught=_mean(flagged_L[malignant_L & of_L]),
                benign_flagged=_mean(flagged_L[benign_L & of_L]),
            )
            for name in np.unique(source_L)
        }
        shares = [at.benign_flagged for at in by_source.values() if at.benign_flagged is not None]
        marks.append(
            Mark(
                catches=catches,
                threshold=max(float(threshold), 0.0),
                source=lowest,
                benign_flagged=float(np.mean(shares)) if shares else None,
                by_source=by_source,
            )
        )
    return tuple(marks)


def _groups(source_L: NDArray[Any]) -> dict[str, list[str]]:
    """Sources with a mark of their own, by its name; smaller ones are one group, joined with a plus sign.

    Args:
        source_L: names of the malignant lesions' sources.
    """
    names, count_S = np.unique(source_L, return_counts=True)
    groups = {str(name): [str(name)] for name in names[count_S >= FEWEST_MALIGNANT]}
    few = int((count_S < FEWEST_MALIGNANT).sum())
    if few:
        smallest_first = np.argsort(count_S, kind="stable")
        enough = int(np.searchsorted(np.cumsum(count_S[smallest_first]), FEWEST_MALIGNANT)) + 1
        pool = sorted(names[smallest_first[: max(few, enough)]].tolist())
        groups[" + ".join(pool)] = pool
    return groups


def _mean(value_L: NDArray[Any]) -> float | None:
    return float(value_L.mean()) if len(value_L) else None
