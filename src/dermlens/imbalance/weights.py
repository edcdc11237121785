"""Class weights from class counts.

Sources: the paper's Eq. 3–4 and its description of the older weights, P§1.9 has the values its code used;
effective number: Cui et al. 2019, Eq. 2 and §4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermlens.errors import UserError, nearest
from dermlens.labels import CLASSES

WeightKind = Literal["none", "original", "new", "effective_number"]


def class_weights(
    kind: WeightKind | Mapping[str, float],
    counts_C: ArrayLike,
    classes: Sequence[str] = CLASSES,
    *,
    exponent: float = 1.0,
    beta: float = 0.999,
) -> NDArray[np.float64]:
    """One weight a class.

    `original` and `new` differ by the factor C alone: the same ratios between classes, another scale of the
    loss. What that scale does depends on the optimiser (under Adam it is ε divided by the factor).

    Args:
        kind: `none` is ones; `original` N/N_i; `new` N/(C·N_i), scikit-learn's "balanced";
            `effective_number` (1 − β)/(1 − β^N_i), scaled to sum to C; or numbers by class code, 1 for those
            left out.
        counts_C: images of each class, in the order of `classes`.
        classes: the codes.
        exponent: p, the weights are raised to it: 0 is none.
        beta: of `effective_number`; 0 is none, towards 1 it is inverse frequency.

    Returns:
        Weights, float64 of shape (C,), all above 0.

    Raises:
        UserError: a number for a class that is not there, or a class without an image to count.
    """
    if isinstance(kind, Mapping):
        if unknown := [code for code in kind if code not in classes]:
            raise UserError(
                f"imbalance.weights: {unknown[0]} is none of the classes{nearest(unknown[0], classes)}"
            )
        return np.array([kind.get(code, 1.0) for code in classes], dtype=np.float64) ** exponent
    counts_C = np.asarray(counts_C, dtype=np.float64)
    assert counts_C.shape == (len(classes),), (counts_C.shape, len(classes))
    if kind == "none":
        return np.ones_like(counts_C)
    if empty := [code for code, count in zip(classes, counts_C, strict=True) if count <= 0]:
        raise UserError(
            f"imbalance.weights {kind}: class {empty[0]} has no image to count, so its weight would be"
            " infinite; give numbers by class, or use weights_from: all"
        )
    if kind == "effective_number":
        weights_C = (1 - beta) / -np.expm1(counts_C * np.log(beta)) if beta else np.ones_like(counts_C)
        weights_C *= len(counts_C) / weights_C.sum()
    else:
        weights_C = counts_C.sum() / counts_C
        if kind == "new":
            weights_C /= len(counts_C)
    powered_C: NDArray[np.float64] = weights_C**exponent
    return powered_C
