"""Losses by the config that sets them: one decorated function adds one. And learning from soft labels.

Shapes: B batch, C classes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermlens.documents import Section
from dermlens.errors import UserError
from dermlens.plugins import PluggedLoss
from dermlens.sections import (
    BalancedSoftmaxConfig,
    CrossEntropyConfig,
    FocalConfig,
    LDAMConfig,
    LogitAdjustedConfig,
    MultiWeightedConfig,
    RealWorldWeightConfig,
)
from dermlens.training.losses_cost import multi_weighted, real_world_weight

LossFunction = Callable[..., Tensor]
AnyLoss = TypeVar("AnyLoss", bound=LossFunction)


@dataclass(frozen=True, slots=True)
class Loss:
    """One registered loss.

    Attributes:
        function: (logits_BC, target_B, weight_C, **settings) → loss_B; one that asks for `prior_C`, or for
            `prior_BC` of each image, gets it.
        neutral: the setting at which it is weighted cross-entropy (given a uniform prior), which the shared
            tests hold it to; for a loss of sigmoids, which never is, its defaults.
        generalises: whether it is weighted cross-entropy there.
    """

    function: LossFunction
    neutral: Section
    generalises: bool = True


_LOSSES: dict[type[Section], Loss] = {}


def loss(
    config: type[Section], *, neutral: Section | None = None, generalises: bool = True
) -> Callable[[AnyLoss], AnyLoss]:
    """Register the decorated function as the loss that `config` sets.

    Args:
        config: its section of a recipe; its fields but `kind` reach the function by name.
        neutral: the setting at which it is weighted cross-entropy; the defaults, if not given.
        generalises: whether there is such a setting.
    """

    def register(function: AnyLoss) -> AnyLoss:
        assert config not in _LOSSES, config
        _LOSSES[config] = Loss(function, neutral if neutral is not None else config(), generalises)
        return function

    return register


def all_losses() -> dict[str, Loss]:
    """Every loss there is, by its `kind`."""
    return {str(config.model_fields["kind"].default): entry for config, entry in _LOSSES.items()}


class ClassLoss(nn.Module):
    """A loss with its settings, class weights and priors, which move with it to a device."""

    weight_C: Tensor
    prior_C: Tensor
    prior_SC: Tensor

    def __init__(
        self,
        config: Section,
        weight_C: Tensor,
        prior_C: Tensor | None = None,
        prior_SC: Tensor | None = None,
    ) -> None:
        super().__init__()
        if isinstance(config, PluggedLoss):
            found, settings = config.resolve()
            self.function: LossFunction = found.function
        else:
            self.function, settings = _LOSSES[type(config)].function, config.model_dump(exclude={"kind"})
        self.settings = {name: value for name, value in settings.items() if name != "prior"}
        self.by_source = getattr(config, "prior", "sampled") == "source"
        self.wanted = {"prior_C", "prior_BC"} & set(inspect.signature(self.function).parameters)
        if prior_C is None:
            prior_C = torch.full_like(weight_C, 1 / len(weight_C))
        self.register_buffer("weight_C", weight_C.clone(), persistent=False)
        self.register_buffer("prior_C", prior_C.clone(), persistent=False)
        sources_SC = prior_C[None] if prior_SC is None else prior_SC
        self.register_buffer("prior_SC", sources_SC.clone(), persistent=False)

    def per_image(self, logits_BC: Tensor, target_B: Tensor, source_B: Tensor | None = None) -> Tensor:
        """loss_B, class weights in it.

        Args:
            logits_BC: unnormalised scores.
            target_B: class indices in 0 … C−1.
            source_B: rows of prior_SC; none, as in validation, scores by the prior of all that is sampled.
        """
        # An autocast step gives logits of half precision; a loss of a few numbers is cheap in full.
        logits_BC = logits_BC.to(torch.promote_types(logits_BC.dtype, self.weight_C.dtype))
        settings: dict[str, Any] = dict(self.settings)
        if "prior_C" in self.wanted:
            settings["prior_C"] = self.prior_C.to(logits_BC.dtype)
        if "prior_BC" in self.wanted:
            of_source = self.by_source and source_B is not None
            prior_BC = self.prior_SC[source_B] if of_source else self.prior_C.expand_as(logits_BC)
            settings["prior_BC"] = prior_BC.to(logits_BC.dtype)
        return self.function(logits_BC, target_B, self.weight_C.to(logits_BC.dtype), **settings)

    def forward(self, logits_BC: Tensor, target_B: Tensor) -> Tensor:
        """The mean of loss_B, divided by B as Keras does, not by the sum of the weights."""
        return self.per_image(logits_BC, target_B).mean()


def make_loss(
    config: Section, weight_C: Tensor, prior_C: Tensor | None = None, prior_SC: Tensor | None = None
) -> ClassLoss:
    """The loss that a recipe asks for.

    Args:
        config: `imbalance.loss` of a recipe.
        weight_C: class weights; ones weigh all alike.
        prior_C: share of each class among what is sampled; none takes all alike.
        prior_SC: the same of each source, rows of sum 1; a loss of `prior: source` takes an image's own.

    Returns:
        (logits_BC, target_B) → scalar.
    """
    return ClassLoss(config, weight_C, prior_C, prior_SC)


# Weighted cross-entropy, the paper's Eq. 2, and label smoothing (Szegedy et al. 2016, §7).


@loss(CrossEntropyConfig)
def cross_entropy(logits_BC: Tensor, target_B: Tensor, weight_C: Tensor, *, smoothing: float) -> Tensor:
    """w_y · Σ_c q_c · (−log p_c), where q is (1 − ε) at y and ε/C elsewhere.

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


# Focal loss in its multi-class form (Lin et al. 2017, Eq. 4).


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


# Label-distribution-aware margins, LDAM (Cao et al. 2019, Eq. 10 and 13).


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


# Logit adjustment in training (Menon et al. 2021, Eq. 10).


@loss(LogitAdjustedConfig, neutral=LogitAdjustedConfig(tau=0.0))
def logit_adjusted(
    logits_BC: Tensor, target_B: Tensor, weight_C: Tensor, *, prior_BC: Tensor, tau: float, smoothing: float
) -> Tensor:
    """w_y · Σ_c q_c · (−log softmax(z + τ·log π)_c), where q is (1 − ε) at y and ε·π elsewhere.

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


# Balanced softmax (Ren et al. 2020, Eq. 4).


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


# Losses of dermlens.training.losses_cost.

loss(RealWorldWeightConfig, neutral=RealWorldWeightConfig(mean_over_classes=False))(real_world_weight)
loss(MultiWeightedConfig, generalises=False)(multi_weighted)


# Source: Hinton, Vinyals and Dean 2015, §2. Shapes: B batch, C classes, N images of the table.


def distillation(logits_BC: Tensor, soft_BC: Tensor, temperature: float) -> Tensor:
    """T²·KL(q_T ‖ p_T), where both are softened: q_T ∝ q^(1/T), p_T = softmax(z/T).

    T² keeps the size of the gradient, which softening divides by about as much.

    Args:
        logits_BC: of the student, z.
        soft_BC: the teacher's probabilities, q.
        temperature: T.

    Returns:
        loss_B, in nats.
    """
    tiny = torch.finfo(soft_BC.dtype).tiny
    log_q_BC = (soft_BC.clamp(min=tiny).log() / temperature).log_softmax(1)
    log_p_BC = (logits_BC / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(log_p_BC, log_q_BC, reduction="none", log_target=True).sum(1)


def read_soft_labels(path: Path, images: pd.Series, classes: tuple[str, ...]) -> Tensor:
    """Soft labels in the order of a table.

    Args:
        path: a CSV of `image_id` and `p_<class>` for each class; other columns are left alone.
        images: the image ids of the table.
        classes: labels, in the order of the logits.

    Returns:
        soft_NC, float32, rows of sum 1; zeros for images that the file does not have.

    Raises:
        UserError: no such file, no such columns, an image twice, a row that is no distribution, or no image
            of the table in it.
    """
    try:
        found = pd.read_csv(path, dtype={"image_id": str})
    except (OSError, ValueError) as error:
        raise UserError(f"train.distillation.soft_labels: {path} cannot be read as CSV: {error}") from error
    columns = [f"p_{code}" for code in classes]
    for column in ("image_id", *columns):
        if column not in found:
            raise UserError(f"train.distillation.soft_labels: {path} has no column {column}")
    if found["image_id"].duplicated().any():
        twice = found.loc[found["image_id"].duplicated(), "image_id"].iloc[0]
        raise UserError(f"train.distillation.soft_labels: {path} has {twice} twice")
    p_NC = found[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = ~((p_NC >= 0).all(1) & (abs(p_NC.sum(1) - 1) < 1e-3))
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"train.distillation.soft_labels: {path}, row {row + 2}, image {found['image_id'].iloc[row]}: its"
            " probabilities must be numbers of 0 to 1 and of sum 1"
        )
    aligned = pd.DataFrame(p_NC, index=found["image_id"]).reindex(images)
    if aligned.isna().all(axis=None):
        raise UserError(f"train.distillation.soft_labels: {path} has none of the images of the table")
    return torch.tensor(aligned.fillna(0.0).to_numpy(), dtype=torch.float32)
