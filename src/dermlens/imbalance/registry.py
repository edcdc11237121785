"""Losses by the config that sets them: a file in `losses/` with one decorated function adds one.

Shapes: B batch, C classes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dermlens.imbalance import losses as losses_package
from dermlens.section import Section

LossFunction = Callable[..., Tensor]
F = TypeVar("F", bound=LossFunction)


@dataclass(frozen=True, slots=True)
class Loss:
    """One registered loss.

    Attributes:
        function: (logits_BC, target_B, weight_C, **settings) → loss_B; one that asks for `prior_C`, or for
            `prior_BC` of each image, gets it.
        neutral: the setting at which it is weighted cross-entropy (given a uniform prior), which the shared
            tests hold it to.
    """

    function: LossFunction
    neutral: Section


_LOSSES: dict[type[Section], Loss] = {}


def loss(config: type[Section], *, neutral: Section | None = None) -> Callable[[F], F]:
    """Register the decorated function as the loss that `config` sets.

    Args:
        config: its section of a recipe; its fields but `kind` reach the function by name.
        neutral: the setting at which it is weighted cross-entropy; the defaults, if not given.
    """

    def register(function: F) -> F:
        assert config not in _LOSSES, config
        _LOSSES[config] = Loss(function, neutral if neutral is not None else config())
        return function

    return register


def all_losses() -> dict[str, Loss]:
    """Every loss there is, by its `kind`."""
    for module in pkgutil.iter_modules(losses_package.__path__, f"{losses_package.__name__}."):
        importlib.import_module(module.name)
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
        all_losses()
        self.function = _LOSSES[type(config)].function
        self.settings = config.model_dump(exclude={"kind", "prior"})
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
