"""From logits to probabilities, and from one class prior to another.

Shapes: N images, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dermlens.decision.document import Scaling
from dermlens.errors import UserError
from dermlens.metrics import Floats


def log_softmax(scores_NC: Floats) -> Floats:
    """Log softmax over the classes, in double precision."""
    shifted_NC = scores_NC - scores_NC.max(axis=1, keepdims=True)
    return np.asarray(shifted_NC - np.log(np.exp(shifted_NC).sum(axis=1, keepdims=True)))


def scaled(logits_NC: Floats, scaling: Scaling) -> Floats:
    """Calibrated log-probabilities, for the prior that the scaling was fitted for.

    Source: Guo, Pleiss, Sun, Weinberger 2017, section 4.2, for temperature and vector scaling; Alexandari,
    Kundaje, Shrikumar 2020 for a temperature with biases.
    """
    scores_NC = np.asarray(logits_NC, dtype=np.float64) / scaling.temperature
    if scaling.scale is not None:
        scores_NC = scores_NC * np.array(scaling.scale)
    if scaling.bias is not None:
        scores_NC = scores_NC + np.array(scaling.bias)
    return log_softmax(scores_NC)


def shift_prior(log_p_NC: Floats, stated_C: Sequence[float], given_C: Sequence[float]) -> Floats:
    """Log-probabilities under another class prior: p'_c ∝ p_c · given_c / stated_c.

    It supposes that each class looks the same in both populations and only their shares differ. Source:
    Saerens, Latinne, Decaestecker 2002, Eq. 2.4.

    Args:
        log_p_NC: for the stated prior.
        stated_C: class shares that they hold for.
        given_C: class shares of the other population, in any unit: counts do.

    Raises:
        UserError: there is not one positive number for each class.
    """
    given = np.asarray(given_C, dtype=np.float64)
    if given.shape != (len(stated_C),) or not (np.isfinite(given).all() and (given > 0).all()):
        raise UserError(
            f"the prior is {list(given_C)}; it must be {len(stated_C)} positive numbers, one for each class"
        )
    return log_softmax(log_p_NC + np.log(given) - np.log(stated_C))  # logs: a sum of shares may overflow
