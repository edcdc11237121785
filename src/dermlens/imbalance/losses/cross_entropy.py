"""Weighted cross-entropy, the paper's Eq. 2, and label smoothing (Szegedy et al. 2016, §7).

Shapes: B batch, C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dermlens.imbalance.config import CrossEntropyConfig
from dermlens.imbalance.registry import loss


@loss(CrossEntropyConfig)
def cross_entropy(logits_BC: Tensor, target_B: Tensor, weight_C: Tensor, *, smoothing: float) -> Tensor:
    """w_y · Σ_c q_c · (−log p_c), where q is (1 − ε) at y and ε/C everywhere besides.

    PyTorch's own smoothing weighs each term by its class; here an image weighs as its label does.

    Args:
        logits_BC: unnormalised scores.
        target_B: class indices in 0 … C−1.
        weight_C: class weights; ones for none.
        smoothing: ε; 0 is cross-entropy.

    Returns:
        loss_B.
    """
    loss_B = F.cross_entropy(logits_BC, target_B, reduction="none", label_smoothing=smoothing)
    return weight_C[target_B] * loss_B
