"""The one way from a network's outputs to an answer; report, predictor and service all go it.

NumPy only. Shapes: N images, C classes, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dermlens.decision.document import DecisionDocument
from dermlens.decision.ood import Arrays, ood_scores
from dermlens.decision.probabilities import log_softmax, scaled, shift_prior
from dermlens.errors import UserError
from dermlens.metrics import Bools, Floats, Ints

STRANGE = "unlike the images that it was trained on"
UNSURE = "no diagnosis stands out"
WIDE = "too many diagnoses fit"
REASONS = (STRANGE, UNSURE, WIDE)
"""Why the model abstains; several are joined by `; `."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the model says of N images.

    Attributes:
        p_NC: calibrated probabilities, for the prior that was given or else for the stated one.
        diagnosis_N: index of the class that the decision rule names; the prior given does not change it.
        confidence_N: share of that class in softmax(log p + offsets), by which abstention goes.
        set_NC: the classes of the conformal set, to which the named one always belongs.
        ood_N: out-of-distribution score; NaN without one.
        abstain_N: whether the model abstains.
        reason_N: why, in words; empty where it does not.
    """

    p_NC: Floats
    diagnosis_N: Ints
    confidence_N: Floats
    set_NC: Bools
    ood_N: Floats
    abstain_N: Bools
    reason_N: tuple[str, ...]


def answer(
    logits_NC: NDArray[np.floating],
    features_ND: NDArray[np.floating],
    document: DecisionDocument,
    arrays: Arrays,
    prior: Sequence[float] | None = None,
) -> Answers:
    """Decide.

    Diagnosis, set and abstention are those of the stated prior, whatever prior is given: mean recall weighs
    the classes alike and the sets hold class by class, so neither knows of a prior; only the probabilities
    do.

    Args:
        logits_NC: of the network, averaged over its views.
        features_ND: of the image as it is.
        document: the model's decision.
        arrays: of its out-of-distribution score, as `read_arrays` gives them.
        prior: class shares of another population than the stated one, in any unit.

    Raises:
        UserError: the prior is not one positive number for each class, or one is given to a model whose own
            nobody knows.
    """
    scores_NC = np.asarray(logits_NC, dtype=np.float64)
    log_p_NC = scaled(scores_NC, document.scaling)
    weighed_NC = log_softmax(log_p_NC + np.array(document.rule.offsets))
    diagnosis_N = np.argmax(weighed_NC, axis=1).astype(np.int64)
    confidence_N = np.exp(weighed_NC.max(axis=1))
    set_NC = diagnosis_N[:, None] == np.arange(len(document.classes))
    if document.sets is not None:
        set_NC |= np.exp(log_softmax(scores_NC)) >= np.array(document.sets.thresholds)
    ood_N, found_RN = _doubts(scores_NC, features_ND, confidence_N, set_NC, document, arrays)
    reason_N = tuple(
        "; ".join(word for word, holds in zip(REASONS, found_R, strict=True) if holds)
        for found_R in found_RN.T
    )
    if prior is not None:
        if document.prior is None:
            raise UserError(
                "this model does not say for which class shares its probabilities hold, so they cannot be"
                " turned into those of another population; calibrate it first"
            )
        log_p_NC = shift_prior(log_p_NC, document.prior, prior)
    return Answers(
        p_NC=np.exp(log_p_NC),
        diagnosis_N=diagnosis_N,
        confidence_N=confidence_N,
        set_NC=set_NC,
        ood_N=ood_N,
        abstain_N=np.asarray(found_RN.any(axis=0)),
        reason_N=reason_N,
    )


def _doubts(
    logits_NC: Floats,
    features_ND: NDArray[np.floating],
    confidence_N: Floats,
    set_NC: Bools,
    document: DecisionDocument,
    arrays: Arrays,
) -> tuple[Floats, Bools]:
    """The out-of-distribution score, and which of `REASONS` hold. What is not a number is a doubt."""
    never_N = np.zeros(len(logits_NC), dtype=bool)
    ood, limits = document.ood, document.abstention
    ood_N, strange_N = np.full(len(logits_NC), np.nan), never_N
    if ood is not None:
        ood_N = ood_scores(ood.kind, logits_NC, features_ND, arrays, ood.neighbours)
        strange_N = ~(ood_N <= ood.threshold)
    unsure_N = never_N if limits.least_confidence is None else ~(confidence_N >= limits.least_confidence)
    wide_N = never_N if limits.largest_set is None else set_NC.sum(axis=1) > limits.largest_set
    return ood_N, np.stack([strange_N, unsure_N, wide_N])
