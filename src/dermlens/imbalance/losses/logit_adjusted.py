"""Logit adjustment in training (Menon et al. 2021, Eq. 10).

Shapes: B batch, C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dermlens.imbalance.config import LogitAdjustedConfig
from dermlens.imbalance.registry import loss


@loss(LogitAdjustedConfig, neutral=LogitAdjustedConfig(tau=0.0))
def logit_adjusted(
    logits_BC: Tensor, target_B: Tensor, weight_C: Tensor, *, prior_C: Tensor, tau: float
) -> Tensor:
    """w_y · (−log softmax(z + τ·log π)_y).

    The prior is added in training and left out at prediction, so that the logits answer for a population
    where (at τ = 1) all classes are as frequent.

    Args:
        logits_BC: unnormalised scores.
        target_B: class indices in 0 … C−1.
        weight_C: class weights; ones for none.
        prior_C: π, share of each class among what was sampled.
        tau: how much of the prior is taken over; 0 is cross-entropy.

    Returns:
        loss_B.
    """
    adjusted_BC = logits_BC + tau * prior_C.log()
    return weight_C[target_B] * F.cross_entropy(adjusted_BC, target_B, reduction="none")
