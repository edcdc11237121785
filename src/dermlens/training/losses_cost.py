"""Losses that weigh mistakes by what they cost, and the multi-weighted loss with cumulative learning.

They are entered in the registry of `dermlens.training.losses`, which imports this file. Shapes: B batch,
C classes.
"""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from dermlens.errors import UserError
from dermlens.sections import MultiWeightedConfig

# Real-world-weight cross-entropy (Ho and Wookey 2020, arXiv 2001.00570).


def real_world_weight(
    logits_BC: Tensor,
    target_B: Tensor,
    weight_C: Tensor,
    *,
    costs: tuple[tuple[float, ...], ...],
    mean_over_classes: bool,
) -> Tensor:
    """−[w_y·log p_y + Σ_{k≠y} W_{y,k}·log(1 − p_k)], over C where `mean_over_classes`.

    Class weights are the article's costs of a false negative, W_{y,k} that of naming k where y is true.
    log(1 − p_k) is the log-sum-exp of the other logits less that of all, so that p_k = 1 costs what it should
    and its slope is finite.

    Args:
        logits_BC: unnormalised scores.
        target_B: class indices in 0 … C−1.
        weight_C: w; the article's marginal costs of a false negative.
        costs: W, a row for each true class, in the order of the logits; its diagonal counts for nothing.
            Empty for zeros, which is weighted cross-entropy.
        mean_over_classes: divide by C, as the authors' notebook does.

    Returns:
        loss_B.

    Raises:
        UserError: W is not C × C.
    """
    classes = logits_BC.shape[1]
    loss_B = weight_C[target_B] * F.cross_entropy(logits_BC, target_B, reduction="none")
    if costs:
        if len(costs) != classes or any(len(row) != classes for row in costs):
            raise UserError(f"imbalance.loss.costs must be {classes} rows of {classes} numbers, one a class")
        cost_CC = torch.tensor(costs, dtype=logits_BC.dtype, device=logits_BC.device).fill_diagonal_(0)
        loss_B = loss_B - (cost_CC[target_B] * log_missing(logits_BC)).sum(1)
    return loss_B / classes if mean_over_classes else loss_B


def log_missing(logits_BC: Tensor) -> Tensor:
    """log(1 − p_k) of a softmax without cancellation, (B, C)."""
    classes = logits_BC.shape[1]
    own_CC = torch.eye(classes, dtype=torch.bool, device=logits_BC.device)
    others_BCC = logits_BC[:, None, :].expand(-1, classes, -1).masked_fill(own_CC, -float("inf"))
    return others_BCC.logsumexp(2) - logits_BC.logsumexp(1, keepdim=True)


# The multi-weighted new loss with its cumulative learning strategy (Yao et al. 2022, arXiv 2102.01284).


def multi_weighted(
    logits_BC: Tensor,
    target_B: Tensor,
    weight_C: Tensor,
    *,
    prior_C: Tensor,
    alpha: float,
    gamma: float,
    beta: float,
    scale: float,
    factors: tuple[float, ...],
    cumulative: tuple[float, float] | None,
) -> Tensor:
    """W_y · s · (1/C)·Σ_j f_j·min(b_j, −log β), with C sigmoids σ_j.

    b_j is the binary cross-entropy of class j against the others; f_j is (1 − σ_j)^γ for the class itself and
    σ_j^γ for the others; W_c = C·v_c / Σ_k v_k with v_c = (r_c/n_c)^α of class counts n and class factors r.
    Where b_j is cut off at −log β its own slope is gone, and that of f_j stays, as in the authors' code.

    Args:
        logits_BC: unnormalised scores; at prediction their softmax is taken, as the authors do.
        target_B: class indices in 0 … C−1.
        weight_C: class weights in addition to W; ones for none.
        prior_C: class shares, which give the same W as counts do.
        alpha: 0 weighs all classes alike.
        gamma: of the focal factor.
        beta: probability below which an outlier costs no more; 0 never cuts.
        scale: s, the authors' 30.
        factors: r, in the order of the logits; empty for ones.
        cumulative: when α is reached, which `CumulativeLearning` sees to.

    Returns:
        loss_B.

    Raises:
        UserError: as many factors as classes are not given.
    """
    del cumulative
    classes = logits_BC.shape[1]
    if factors and len(factors) != classes:
        raise UserError(f"imbalance.loss.factors must be {classes} numbers, one a class")
    factor_C = torch.tensor(factors, dtype=prior_C.dtype, device=prior_C.device) if factors else 1.0
    power_C = (factor_C / prior_C) ** alpha
    balance_C = classes * power_C / power_C.sum()
    truth_BC = F.one_hot(target_B, classes).to(logits_BC.dtype)
    b_BC = F.binary_cross_entropy_with_logits(logits_BC, truth_BC, reduction="none")
    if beta > 0:
        b_BC = b_BC.clamp(max=-torch.tensor(beta, dtype=torch.float64).log().item())
    # what is missing to the truth, as a sigmoid: nothing overflows, however sure the network is
    missing_BC = torch.sigmoid(torch.where(truth_BC > 0, -logits_BC, logits_BC))
    focal_BC = missing_BC.clamp(min=torch.finfo(logits_BC.dtype).tiny) ** gamma
    return scale * (weight_C * balance_C)[target_B] * (focal_BC * b_BC).mean(1)


def cumulative_alpha(alpha: float, epoch: int, epochs: int, cumulative: tuple[float, float] | None) -> float:
    """α in an epoch: 0 at first, then α·((t − t₀)/(t₁ − t₀))², α from t₁ on.

    Args:
        alpha: at last.
        epoch: t, from 0.
        epochs: of the training.
        cumulative: t₀ and t₁ as shares of the training; the authors' are 20 and 60 of 70 epochs. None has
            all of α from the start.
    """
    if cumulative is None:
        return alpha
    begins, ends = (share * epochs for share in cumulative)
    if epoch >= ends:
        return alpha
    return alpha * max(0.0, (epoch - begins) / (ends - begins)) ** 2


class CumulativeLearning(pl.Callback):
    """Sets α of `multi_weighted` at the start of each epoch, from the epoch's number alone."""

    def __init__(self, config: MultiWeightedConfig) -> None:
        self.config = config

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set it in the loss that is trained; `val_loss` keeps the whole α."""
        assert trainer.max_epochs is not None
        now = cumulative_alpha(
            self.config.alpha, trainer.current_epoch, trainer.max_epochs, self.config.cumulative
        )
        settings: dict[str, Any] = vars(pl_module.get_submodule("loss"))["settings"]
        settings["alpha"] = now


def make_ramp(config: object) -> pl.Callback | None:
    """The callback that moves a setting of the loss from epoch to epoch; none for a loss without one.

    Args:
        config: `imbalance.loss` of a recipe.
    """
    if isinstance(config, MultiWeightedConfig) and config.cumulative is not None:
        return CumulativeLearning(config)
    return None
