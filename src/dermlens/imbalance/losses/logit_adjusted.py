"""Logit adjustment in training (Menon et al. 2021, Eq. 10).

Shapes: B batch, C classes.
"""

from __future__ import annotations

from torch import Tensor

from dermlens.imbalance.config import LogitAdjustedConfig
from dermlens.imbalance.registry import loss


@loss(LogitAdjustedConfig, neutral=LogitAdjustedConfig(tau=0.0))
def logit_adjusted(
    logits_BC: Tensor, target_B: Tensor, weight_C: Tensor, *, prior_BC: Tensor, tau: float, smoothing: float
) -> Tensor:
    """w_y · Σ_c q_c · (−log softmax(z + τ·log π)_c), where q is (1 − ε) at y and ε·π everywhere besides.

    The prior is added in training and left out at prediction, so that the logits answer for a population
    where (at τ = 1) all classes are as frequent. Labels are smoothed by the prior, not by equal shares: a
    class that is rare where an image comes from must not gain by it. With equal shares it is Szegedy's.

    Args:
        logits_BC: unnormalised scores.
        target_B: class indices in 0 … C−1.
        weight_C: class weights; ones for none.
        prior_BC: π, share of each class among what was sampled where the image comes from. A class of share 0
            takes no part: it neither competes nor learns from the image.
        tau: how much of the prior is taken over; 0 is cross-entropy.
        smoothing: ε.

    Returns:
        loss_B.
    """
    absent_BC = prior_BC == 0
    adjusted_BC = logits_BC + tau * prior_BC.masked_fill(absent_BC, 1).log()
    log_p_BC = adjusted_BC.masked_fill(absent_BC, -float("inf")).log_softmax(1)
    hit_B = log_p_BC.gather(1, target_B[:, None])[:, 0]
    spread_B = (prior_BC * log_p_BC.masked_fill(absent_BC, 0)).sum(1)
    return -weight_C[target_B] * ((1 - smoothing) * hit_B + smoothing * spread_B)
