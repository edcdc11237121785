"""What a decision is fitted on: a network's outputs next to the truth, lesion by lesion.

Shapes: N images, C classes, D features, L lesions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermlens.metrics import Floats, Ints


@dataclass(frozen=True, slots=True)
class Labelled:
    """The images of one role.

    Attributes:
        logits_NC: of the network, before any scaling.
        features_ND: what its last layer sees.
        target_N: class indices.
        lesion_N: any names of lesions.
        source_N: names of the data sets or clinics; none for one.
    """

    logits_NC: Floats
    features_ND: NDArray[np.floating]
    target_N: Ints
    lesion_N: NDArray[Any]
    source_N: NDArray[Any] | None = None

    @property
    def sources(self) -> NDArray[Any]:
        """The source of each image, as text."""
        return (
            np.full(len(self.target_N), "all")
            if self.source_N is None
            else np.asarray(self.source_N, dtype=str)
        )


def lesions_of(target_N: Ints, lesion_N: NDArray[Any]) -> tuple[Ints, Ints]:
    """Number the lesions; images of one lesion with different diagnoses are counted as different lesions.

    Returns:
        index_N, the lesion of each image in 0 … L−1, and target_L.
    """
    _, name_N = np.unique(lesion_N, return_inverse=True)
    pairs_L2, index_N = np.unique(np.stack([name_N, target_N], axis=1), axis=0, return_inverse=True)
    return index_N.reshape(-1).astype(np.int64), pairs_L2[:, 1].astype(np.int64)


def lesion_counts(target_N: Ints, lesion_N: NDArray[Any], classes: int) -> Ints:
    """Lesions of each class, (C,)."""
    return np.bincount(lesions_of(target_N, lesion_N)[1], minlength=classes).astype(np.int64)


def lesion_folds(
    target_N: Ints, lesion_N: NDArray[Any], *, folds: int, seed: int
) -> Iterator[tuple[Ints, Ints]]:
    """Cross-validation that keeps a lesion on one side and spreads each class evenly.

    Yields:
        Where the images to fit on and those to judge by stand, fold by fold.
    """
    index_N, target_L = lesions_of(target_N, lesion_N)
    rng = np.random.default_rng(seed)
    # dealt class by class from a shuffled pack, so that folds differ by one lesion of a class at the most
    order_L = rng.permutation(len(target_L))
    order_L = order_L[np.argsort(target_L[order_L], kind="stable")]
    fold_L = np.empty(len(target_L), dtype=np.int64)
    fold_L[order_L] = np.arange(len(target_L)) % folds
    for fold in range(folds):
        judged_N = fold_L[index_N] == fold
        yield np.flatnonzero(~judged_N), np.flatnonzero(judged_N)
