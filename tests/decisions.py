"""A world whose truth is known: features of classes with a common covariance, of unequal frequency."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dermlens.calibration.probabilities import Labelled

CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
PRIOR = np.array([0.05, 0.07, 0.12, 0.03, 0.13, 0.56, 0.04])
DIMENSIONS = 10
MEANS = np.random.default_rng(7).normal(0, 0.8, (len(CLASSES), DIMENSIONS))


def draw_world(images: int = 1500, *, seed: int = 0, prior=PRIOR, prefix: str = "L") -> Labelled:
    """Features drawn from Gaussians; the logits are the exact log-posterior at `PRIOR`.

    A lesion has one to three images, drawn around its own place.
    """
    rng = np.random.default_rng(seed)
    lesion_N = np.sort(rng.integers(0, max(1, round(images / 1.4)), images))
    target_L = rng.choice(len(CLASSES), lesion_N.max() + 1, p=np.asarray(prior) / np.sum(prior))
    shift_LD = rng.normal(0, np.sqrt(0.5), (lesion_N.max() + 1, DIMENSIONS))
    target_N = target_L[lesion_N]
    noise_ND = rng.normal(0, np.sqrt(0.5), (images, DIMENSIONS))
    x_ND = MEANS[target_N] + shift_LD[lesion_N] + noise_ND
    square_NC = ((x_ND[:, None] - MEANS) ** 2).sum(axis=2)
    logits_NC = np.log(PRIOR) - square_NC / 2 + rng.normal(size=(images, 1))  # a constant of each image
    names = np.array([f"{prefix}{number}" for number in lesion_N])
    return Labelled(logits_NC, x_ND.astype(np.float32), target_N, names)


@pytest.fixture(scope="session")
def world() -> Callable[..., Labelled]:
    return draw_world
