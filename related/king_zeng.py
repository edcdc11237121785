"""Corrections for a sample whose class shares are not those that count (King and Zeng 2001, Polit. Anal. 9).

For logistic regression: weights by which a sample stands for a population of another share, the correction
of the intercept after a fit without them, and the bias of the coefficients where events are few. For a
network of C classes the correction of the intercept is a shift of the logits, which needs no training; the
`balanced` weights of scikit-learn are the case weights of a population with equal shares.

Shapes: N cases, K coefficients, C classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dermlens.documents import Section

Floats = npt.NDArray[np.float64]


class AdjustedRecipe(Section):
    """Predictions of another system whose classes are weighed anew, for equal shares of them.

    Attributes:
        name: of the system.
        of: id of the system that was trained.
    """

    name: str
    of: str


def case_weights(population: float, sample: float) -> tuple[float, float]:
    """w₁ = τ/ȳ of the events and w₀ = (1 − τ)/(1 − ȳ) of the others.

    Args:
        population: τ, true share of events.
        sample: ȳ, their share in the sample.
    """
    return population / sample, (1 - population) / (1 - sample)


def corrected_intercept(intercept: float, population: float, sample: float) -> float:
    """β₀ − ln[((1 − τ)/τ)·(ȳ/(1 − ȳ))]; arguments as for `case_weights`."""
    return float(intercept - np.log((1 - population) / population * sample / (1 - sample)))


def coefficient_bias(
    x_NK: Floats, p_N: Floats, weight_N: Floats | None = None, event_weight: float = 1.0
) -> Floats:
    """bias_K = (XᵀWX)⁻¹XᵀWξ of logistic regression, to be subtracted from its coefficients.

    W = diag(p·(1 − p)·w), ξ_i = ½·Q_ii·[(1 + w₁)·p_i − w₁] and Q = X(XᵀWX)⁻¹Xᵀ. Without weights it is the
    bias of maximum likelihood to first order (McCullagh and Nelder 1989, §15.2).

    Args:
        x_NK: design matrix; a column of ones where there is an intercept.
        p_N: fitted probabilities of an event.
        weight_N: w, case weights; none for ones.
        event_weight: w₁.
    """
    w_N = p_N * (1 - p_N) * (1.0 if weight_N is None else weight_N)
    information_KK = x_NK.T @ (w_N[:, None] * x_NK)
    q_N = np.einsum("nk,kn->n", x_NK, np.linalg.solve(information_KK, x_NK.T))
    xi_N = 0.5 * q_N * ((1 + event_weight) * p_N - event_weight)
    return np.asarray(np.linalg.solve(information_KK, x_NK.T @ (w_N * xi_N)))


def for_population(p_NC: Floats, sample_C: Floats, population_C: Floats) -> Floats:
    """Probabilities for other class shares: softmax of z_c − ln(sample_c) + ln(population_c).

    Args:
        p_NC: of a network that was trained on a sample.
        sample_C: class shares of what it was trained on.
        population_C: class shares that count.
    """
    weighed_NC = p_NC * (population_C / sample_C)
    return np.asarray(weighed_NC / weighed_NC.sum(axis=1, keepdims=True))
