"""Marks of suspicion: from where on a lesion is flagged, fitted source by source.

Shapes: N images, L lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermlens.calibration.abstention import lower_bound
from dermlens.calibration.labelled import lesions_of
from dermlens.metrics import Floats, Ints
from dermlens.predict.decision_document import Mark, MarkAt, Suspicion

CATCHES = (0.90, 0.95)
"""Shares of malignant lesions that marks are set to catch."""


def fit_marks(
    suspicion: Suspicion,
    suspicion_N: Floats,
    target_N: Ints,
    lesion_N: NDArray[Any],
    source_N: NDArray[Any],
    classes: Sequence[str],
) -> tuple[Mark, ...]:
    """A mark for each of `CATCHES`: the lowest of the sources' own.

    A source's own mark is the highest that a new malignant lesion of it reaches with the probability that is
    asked for, all its images counted: a lesion's score is that of its least suspicious image. Sources
        with too
    few malignant lesions for one have no say; where that is all of them, they are taken together.
    Pre-malignant lesions count on neither side.

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
    worst_L = np.full(len(target_L), np.inf)
    np.minimum.at(worst_L, index_N, suspicion_N)
    code_L = np.asarray(classes)[target_L]
    malignant_L = np.isin(code_L, suspicion.malignant)
    benign_L = ~malignant_L & ~np.isin(code_L, suspicion.premalignant)
    if not malignant_L.any():
        return ()
    images_L = np.bincount(index_N)
    marks = []
    for catches in CATCHES:
        own = {
            str(name): bound
            for name in np.unique(source_L)
            if np.isfinite(bound := lower_bound(worst_L[malignant_L & (source_L == name)], 1 - catches))
        }
        together = lower_bound(worst_L[malignant_L], 1 - catches)
        lowest = min(own, key=lambda name: own[name]) if own else "all"
        threshold = own[lowest] if own else together
        if not np.isfinite(threshold):
            threshold = float(worst_L[malignant_L].min())
        flagged_L = np.bincount(index_N, suspicion_N >= threshold) / images_L
        by_source = {
            str(name): MarkAt(
                threshold=own.get(str(name)),
                malignant=int((of_L := source_L == name)[malignant_L].sum()),
                benign=int(of_L[benign_L].sum()),
                caught=_mean((worst_L >= threshold)[malignant_L & of_L]),
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


def _mean(value_L: NDArray[Any]) -> float | None:
    return float(value_L.mean()) if len(value_L) else None
