"""A decision rule for every image, fitted on the out-of-fold predictions of the other folds.

So no image has a part in the rule that it is judged by, and all of them can be judged. Log-probabilities
stand for logits, from which they differ by a constant of each image.

Shapes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dermlens.decision.document import Rule, Scaling
from dermlens.decision.fit_rule import fit_rule, per_class
from dermlens.decision.fit_scaling import choose_scaling, fit_scaling
from dermlens.decision.labelled import Labelled
from dermlens.decision.probabilities import scaled
from dermlens.metrics import Floats, Ints

Fit = Callable[[Labelled, Floats], tuple[Scaling, Rule]]
"""Scaling and rule from labelled images and the class shares to be calibrated for."""


@dataclass(frozen=True, slots=True)
class Nested:
    """Every image as the rule of the other folds has it.

    Attributes:
        p_NC: scaled probabilities.
        named_N: class indices.
        fitted: by fold, the scaling and the rule that its images are judged by.
    """

    p_NC: Floats
    named_N: Ints
    fitted: dict[int, tuple[Scaling, Rule]]


def as_shipped(images: Labelled, prior_C: Floats) -> tuple[Scaling, Rule]:
    """Kinds chosen by cross-validation, as for a model that ships; some ten seconds."""
    scaling = choose_scaling(images, prior_C)
    log_p_NC = scaled(images.logits_NC, scaling)
    return scaling, fit_rule(log_p_NC, images.target_N, images.lesion_N, prior_C)


def of_one_kind(images: Labelled, prior_C: Floats) -> tuple[Scaling, Rule]:
    """A temperature, a bias a class, an offset a class: the same kinds for every arm, in a second.

    The biases bring an arm whose loss has moved the prior back to that of the images.
    """
    scaling = fit_scaling("bias", images.logits_NC, images.target_N, np.ones(len(images.target_N)))
    return scaling, per_class(scaled(images.logits_NC, scaling), images.target_N, prior_C)


def nested(target_N: Ints, p_NC: Floats, lesion_N: NDArray[Any], fold_N: Ints, fit: Fit) -> Nested | None:
    """Judge each fold by what the others teach.

    The prior of a fold is the class shares of the others' images.

    Args:
        target_N: class indices.
        p_NC: probabilities, out of fold.
        lesion_N: names of lesions.
        fold_N: folds, none of which shares a lesion with another.
        fit: of scaling and rule.

    Returns:
        None where a fold holds all images of a class, so that the others cannot teach it.
    """
    log_p_NC = np.log(np.maximum(p_NC, np.finfo(np.float64).eps))
    scaled_NC, named_N = np.empty_like(log_p_NC), np.empty_like(target_N)
    fitted = {}
    for fold in np.unique(fold_N):
        inside_N = fold_N == fold
        count_C = np.bincount(target_N[~inside_N], minlength=p_NC.shape[1])
        if not count_C.all():
            return None
        others = Labelled(
            logits_NC=log_p_NC[~inside_N],
            features_ND=np.empty((int((~inside_N).sum()), 0)),
            target_N=target_N[~inside_N],
            lesion_N=lesion_N[~inside_N],
        )
        scaling, rule = fit(others, count_C / count_C.sum())
        scaled_NC[inside_N] = scaled(log_p_NC[inside_N], scaling)
        named_N[inside_N] = np.argmax(scaled_NC[inside_N] + np.array(rule.offsets), axis=1)
        fitted[int(fold)] = scaling, rule
    return Nested(np.exp(scaled_NC), named_N, fitted)
