"""Which images make up an epoch, and how the classes weigh.

Shapes: R images of the training role, E of an epoch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dermlens.errors import UserError, nearest
from dermlens.labels import CLASSES
from dermlens.plugins import PluggedSampler
from dermlens.sections import ClassDraws, LesionSamplerConfig, PowerSamplerConfig, SamplerConfig

Indices = NDArray[np.int64]


def epoch_positions(
    config: SamplerConfig,
    target_R: Indices,
    lesion_R: Sequence[str],
    rng: np.random.Generator,
    classes: Sequence[str],
    source_R: Sequence[str] = (),
) -> Indices:
    """The images of one epoch, not yet in random order.

    How many of each class they are is the same in every epoch.

    Args:
        config: `imbalance.sampler` of a recipe.
        target_R: class indices of the training images.
        lesion_R: their lesions.
        rng: of the epoch.
        classes: the codes, in the order of the indices.
        source_R: their sources; none where the sampler names none.

    Returns:
        Positions in `target_R`, (E,).

    Raises:
        UserError: a cap or repetition of a class that is not there; or a sampler from outside returned what
            are no positions.
    """
    if isinstance(config, PluggedSampler):
        return _from_outside(config, target_R, lesion_R, source_R, rng, classes)
    if isinstance(config, PowerSamplerConfig):
        return _by_class(target_R, config.exponent, rng)
    if isinstance(config, LesionSamplerConfig):
        _check_classes(config, "imbalance.sampler", classes)
        for source, own in config.by_source.items():
            _check_classes(own, f"imbalance.sampler.by_source.{source}", classes)
        from_R = np.asarray(source_R if config.by_source else [""] * len(target_R), dtype=str)
        pooled = ~np.isin(from_R, list(config.by_source))
        drawn = [_by_lesion(config, target_R, lesion_R, rng, classes, np.flatnonzero(pooled))]
        for name, own in config.by_source.items():
            drawn.append(_by_lesion(own, target_R, lesion_R, rng, classes, np.flatnonzero(from_R == name)))
        return np.concatenate(drawn)
    return np.arange(len(target_R))


def _from_outside(
    config: PluggedSampler,
    target_R: Indices,
    lesion_R: Sequence[str],
    source_R: Sequence[str],
    rng: np.random.Generator,
    classes: Sequence[str],
) -> Indices:
    found, settings = config.resolve()
    positions = np.asarray(found.function(target_R, lesion_R, source_R, rng, classes, **settings))
    if (
        positions.ndim != 1
        or not len(positions)
        or positions.dtype.kind not in "iu"
        or not (0 <= positions.min() <= positions.max() < len(target_R))
    ):
        raise UserError(
            f"imbalance.sampler {config.kind} returned {positions.dtype} of shape {positions.shape}; it must"
            f" be one row of positions, integers of 0 to {len(target_R) - 1}"
        )
    return positions.astype(np.int64)


def _check_classes(config: ClassDraws, where: str, classes: Sequence[str]) -> None:
    for key, named in (("caps", config.caps), ("repeats", config.repeats)):
        if unknown := [code for code in named if code not in classes]:
            raise UserError(
                f"{where}.{key}: {unknown[0]} is none of the classes{nearest(unknown[0], classes)}"
            )


def _by_class(target_R: Indices, exponent: float, rng: np.random.Generator) -> Indices:
    """Each class in whole passes over its images and a random part of one: none comes twice too often."""
    count_C = np.bincount(target_R)
    share_C = np.where(count_C > 0, np.maximum(count_C, 1.0) ** exponent, 0.0)
    wanted_C = np.rint(len(target_R) * share_C / share_C.sum()).astype(np.int64)
    drawn = []
    for target in np.flatnonzero(count_C):
        images = np.flatnonzero(target_R == target)
        passes, rest = divmod(max(int(wanted_C[target]), 1), len(images))
        drawn += [images] * passes + [rng.permutation(images)[:rest]]
    return np.concatenate(drawn)


def _by_lesion(
    config: ClassDraws,
    target_R: Indices,
    lesion_R: Sequence[str],
    rng: np.random.Generator,
    classes: Sequence[str],
    among: Indices,
) -> Indices:
    """Of some images, one of each lesion; one whose images disagree counts once in each of its classes."""
    drawn = [np.empty(0, dtype=np.int64)]
    lesion = np.unique(np.asarray(lesion_R, dtype=str), return_inverse=True)[1]
    for index, code in enumerate(classes):
        images = among[target_R[among] == index]
        kinds = np.unique(lesion[images])
        if not len(images):
            continue
        for _ in range(config.repeats.get(code, 1)):
            shuffled = rng.permutation(images)
            first = shuffled[np.unique(lesion[shuffled], return_index=True)[1]]
            drawn.append(rng.permutation(first)[: config.caps.get(code, len(kinds))])
    return np.concatenate(drawn)


# Sources: the paper's Eq. 3–4 and its description of the older weights, the inverse of the share of a class;
# effective number: Cui et al. 2019, Eq. 2 and §4.


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
        kind: `none` is ones; `original` N/N_i; `new` N/(C·N_i), scikit-learn's "balanced"; `effective_number`
            (1 − β)/(1 − β^N_i), scaled to sum to C; or numbers by class code, 1 for those left out.
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
            " infinite; give numbers by class"
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
