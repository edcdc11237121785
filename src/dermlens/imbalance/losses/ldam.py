"""Label-distribution-aware margins, LDAM (Cao et al. 2019, Eq. 10 and 13).

Shapes: B batch, C classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from dermlens.imbalance.config import LDAMConfig
from dermlens.imbalance.registry import loss


@loss(LDAMConfig, neutral=LDAMConfig(max_margin=0.0))
def ldam(
    logits_BC: Tensor, target_B: Tensor, weight_C: Tensor, *, prior_C: Tensor, max_margin: float
) -> Tensor:
    """w_y · (−log softmax(z − Δ_y·e_y)_y), with Δ_c = Δ_max · (min_k π_k / π_c)^¼.

    A class must win by a margin, the wider the rarer it is. Its authors use it on cosines times 30, with
    Δ_max = 0.5; on the logits of a linear layer, as here, the same margin is 15. They re-weight only late:
    `imbalance.deferred_epochs`.

    Args:
        logits_BC: unnormalised scores.
        target_B: class indices in 0 … C−1.
        weight_C: class weights; ones for none.
        prior_C: share of each class among what was sampled.
        max_margin: Δ_max, of the rarest class; 0 is cross-entropy.

    Returns:
        loss_B.
    """
    margin_C = max_margin * (prior_C.min() / prior_C) ** 0.25
    shift_BC = F.one_hot(target_B, len(prior_C)) * margin_C
    return weight_C[target_B] * F.cross_entropy(logits_BC - shift_BC, target_B, reduction="none")
