"""Weighted cross-entropy, the paper's Eq. 2.

Shapes: B batch, C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dermlens.imbalance.config import CrossEntropyConfig
from dermlens.imbalance.registry import loss


@loss(CrossEntropyConfig)
def cross_entropy(logits_BC: Tensor, target_B: Tensor, weight_C: Tensor) -> Tensor:
    """Mean over the batch of w_y · (−log p_y).

    Args:
        logits_BC: unnormalised scores.
        target_B: class indices in 0 … C−1.
        weight_C: class weights; ones for none.

    Returns:
        A scalar, divided by B as Keras's `class_weight` does; PyTorch's own weighted mean divides by Σ w_y.
    """
    return F.cross_entropy(logits_BC, target_B, weight_C, reduction="sum") / len(target_B)
