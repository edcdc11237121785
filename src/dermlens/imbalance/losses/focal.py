"""Focal loss in its multi-class form (Lin et al. 2017, Eq. 4).

Shapes: B batch, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dermlens.imbalance.config import FocalConfig
from dermlens.imbalance.registry import loss


@loss(FocalConfig, neutral=FocalConfig(gamma=0.0))
def focal(logits_BC: Tensor, target_B: Tensor, weight_C: Tensor, *, gamma: float) -> Tensor:
    """w_y · (1 − p_y)^γ · (−log p_y).

    Args:
        logits_BC: unnormalised scores.
        target_B: class indices in 0 … C−1.
        weight_C: class weights; ones for none.
        gamma: how strongly easy examples fade.

    Returns:
        loss_B.
    """
    log_p_B = -F.cross_entropy(logits_BC, target_B, reduction="none")
    # 1 − p without cancellation; the floor keeps the slope of (1 − p)^γ finite at p = 1 for γ below 1.
    missed_B = (-torch.expm1(log_p_B)).clamp(min=torch.finfo(logits_BC.dtype).tiny)
    return weight_C[target_B] * missed_B**gamma * -log_p_B
