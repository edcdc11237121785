"""How well masks agree, as the ISIC challenge of 2018 scores its first task (Codella et al. 2019).

The Jaccard index of a mask is |A ∩ B| / |A ∪ B|. The challenge's score counts an index below 0.65 as 0, which
is how often two experts differ so much. Here a lesion counts once, whatever its number of images.

Shapes: N images, S their side, L lesions, R resamples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermlens.evaluation.intervals import Estimate, Place, draw_lesions, estimate
from dermlens.metrics import Floats, weighted_mean
from dermlens.sections import EvaluationConfig

LEAST = 0.65


def jaccard(found_NSS: NDArray[np.bool_], true_NSS: NDArray[np.bool_]) -> Floats:
    """The index of each image; 1 where both masks are empty."""
    both_N = (found_NSS & true_NSS).sum(axis=(1, 2))
    either_N = (found_NSS | true_NSS).sum(axis=(1, 2))
    return np.where(either_N == 0, 1.0, both_N / np.maximum(either_N, 1))


def jaccard_scores(
    jaccard_N: Floats, lesion_N: NDArray[Any], config: EvaluationConfig
) -> dict[str, Estimate]:
    """Means over lesions of the means over their images, with intervals over lesions.

    Args:
        jaccard_N: of each image.
        lesion_N: any names of lesions, one an image.
        config: of the bootstrap.

    Returns:
        `jaccard`, and `thresholded`, where an image below LEAST counts as 0.
    """
    resamples = draw_lesions(
        lesion_N, np.zeros(len(lesion_N), np.int64), replicates=config.bootstrap, seed=config.seed
    )
    share_N = 1 / np.bincount(resamples.lesion)[resamples.lesion]  # an image of its lesion

    def statistic(weights: Floats | None) -> dict[Place, Floats]:
        w = share_N if weights is None else weights * share_N
        kept_N = np.where(jaccard_N >= LEAST, jaccard_N, 0.0)
        return {("jaccard",): weighted_mean(jaccard_N, w), ("thresholded",): weighted_mean(kept_N, w)}

    return {name[0]: value for name, value in estimate(statistic, resamples, level=config.level).items()}
