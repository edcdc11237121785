"""Fit a whole decision: scaling, rule, sets, out-of-distribution score, abstention.

Each part is fixed on its own role: the score's arrays on the training role, the rule on the selection role,
all else on the calibration role.

Shapes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dermlens.decision.answer import answer
from dermlens.decision.document import Abstention, DecisionDocument
from dermlens.decision.fit_ood import fit_ood
from dermlens.decision.fit_rule import fit_rule
from dermlens.decision.fit_scaling import choose_scaling
from dermlens.decision.fit_sets import fit_sets
from dermlens.decision.labelled import Labelled
from dermlens.decision.ood import Arrays, Kind
from dermlens.decision.probabilities import log_softmax, scaled
from dermlens.errors import UserError

ANSWERED = 0.9
"""Share of the calibration images whose confidence is enough."""
MISSED = 0.1
"""Share of a class's lesions that the sets may miss."""


def fit_decision(
    classes: Sequence[str],
    *,
    train: Labelled,
    selection: Labelled,
    calibration: Labelled,
    ood: Kind = "energy",
    seed: int = 0,
) -> tuple[DecisionDocument, Arrays]:
    """Fit a decision.

    The stated prior is the class shares of the training role's images. The confidence below which the model
    abstains leaves `ANSWERED` of the calibration images; a set of more than half of the classes is too large.

    Args:
        classes: codes, in the order of the logits.
        train: the training role.
        selection: the selection role.
        calibration: the calibration role.
        ood: kind of the out-of-distribution score.
        seed: of the folds of cross-validation and of the images that `knn` keeps.

    Returns:
        The document, and the arrays of the score.

    Raises:
        UserError: a class is not in the training role.
    """
    count_C = np.bincount(train.target_N, minlength=len(classes))
    if not count_C.all():
        raise UserError(
            f"no training image is of class {classes[int(np.argmin(count_C))]}: a decision needs the share of"
            " every class"
        )
    prior_C = count_C / count_C.sum()
    scaling = choose_scaling(calibration, prior_C, seed=seed)
    log_p_NC = scaled(selection.logits_NC, scaling)
    score, arrays = fit_ood(ood, train, calibration, seed=seed)
    document = DecisionDocument(
        classes=tuple(classes),
        prior=tuple(prior_C.tolist()),
        scaling=scaling,
        rule=fit_rule(log_p_NC, selection.target_N, selection.lesion_N, prior_C, seed=seed),
        sets=fit_sets(
            np.exp(log_softmax(calibration.logits_NC)),
            calibration.target_N,
            calibration.lesion_N,
            classes,
            alpha=MISSED,
        ),
        ood=score,
    )
    said = answer(calibration.logits_NC, calibration.features_ND, document, arrays)
    limits = Abstention(
        least_confidence=float(np.quantile(said.confidence_N, 1 - ANSWERED)),
        largest_set=max(1, len(classes) // 2),
    )
    return document.model_copy(update={"abstention": limits}), arrays
