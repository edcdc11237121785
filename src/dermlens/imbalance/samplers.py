"""Which images make up an epoch.

Shapes: R images of the training role, E of an epoch, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dermlens.errors import UserError, nearest
from dermlens.imbalance.config import LesionSamplerConfig, PowerSamplerConfig, SamplerConfig

Indices = NDArray[np.int64]


def epoch_positions(
    config: SamplerConfig,
    target_R: Indices,
    lesion_R: Sequence[str],
    rng: np.random.Generator,
    classes: Sequence[str],
) -> Indices:
    """The images of one epoch, not yet in random order.

    How many of each class they are is the same in every epoch.

    Args:
        config: `imbalance.sampler` of a recipe.
        target_R: class indices of the training images.
        lesion_R: their lesions.
        rng: of the epoch.
        classes: the codes, in the order of the indices.

    Returns:
        Positions in `target_R`, (E,).

    Raises:
        UserError: a cap or repetition of a class that is not there.
    """
    if isinstance(config, PowerSamplerConfig):
        return _by_class(target_R, config.exponent, rng)
    if isinstance(config, LesionSamplerConfig):
        for key, named in (("caps", config.caps), ("repeats", config.repeats)):
            if unknown := [code for code in named if code not in classes]:
                raise UserError(
                    f"imbalance.sampler.{key}: {unknown[0]} is none of the classes"
                    f"{nearest(unknown[0], classes)}"
                )
        return _by_lesion(config, target_R, lesion_R, rng, classes)
    return np.arange(len(target_R))


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
    config: LesionSamplerConfig,
    target_R: Indices,
    lesion_R: Sequence[str],
    rng: np.random.Generator,
    classes: Sequence[str],
) -> Indices:
    """One image of each lesion; a lesion whose images disagree counts once in each class that it has."""
    drawn = []
    lesion = np.unique(np.asarray(lesion_R, dtype=str), return_inverse=True)[1]
    for index, code in enumerate(classes):
        images = np.flatnonzero(target_R == index)
        kinds = np.unique(lesion[images])
        if not len(images):
            continue
        for _ in range(config.repeats.get(code, 1)):
            shuffled = rng.permutation(images)
            first = shuffled[np.unique(lesion[shuffled], return_index=True)[1]]
            drawn.append(rng.permutation(first)[: config.caps.get(code, len(kinds))])
    return np.concatenate(drawn)
