"""Balanced softmax (Ren et al. 2020, Eq. 4).

Shapes: B batch, C classes.
"""

from __future__ import annotations

from torch import Tensor

from dermlens.imbalance.config import BalancedSoftmaxConfig
from dermlens.imbalance.losses.logit_adjusted import logit_adjusted
from dermlens.imbalance.registry import loss


@loss(BalancedSoftmaxConfig)
def balanced_softmax(
    logits_BC: Tensor, target_B: Tensor, weight_C: Tensor, *, prior_BC: Tensor, smoothing: float
) -> Tensor:
    """w_y · (−log(n_y·e^{z_y} / Σ_c n_c·e^{z_c})): logit adjustment at τ = 1.

    With a sampler, n counts what was sampled: what sampling has evened out must not be evened out again.

    Args:
        logits_BC: unnormalised scores.
        target_B: class indices in 0 … C−1.
        weight_C: class weights; ones for none.
        prior_BC: share of each class among what was sampled where the image comes from; all alike gives
            cross-entropy, and a class of share 0 takes no part.
        smoothing: ε of the labels, spread as the prior is.

    Returns:
        loss_B.
    """
    return logit_adjusted(logits_BC, target_B, weight_C, prior_BC=prior_BC, tau=1.0, smoothing=smoothing)
