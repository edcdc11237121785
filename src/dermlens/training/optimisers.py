"""The optimiser that a recipe asks for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.optimizer import ParamsT

from dermlens.sections import OptimizerConfig

# Adam as Keras 2 has it: ε is added to a √v that is not bias-corrected.
#
# Keras:    p ← p − lr · √(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε)
# PyTorch:  p ← p − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)
#
# The two are one rule with ε_PyTorch = ε_Keras/√(1−β₂ᵗ), which for the paper's ε = 0.1 begins at 3.2, is 0.32
# at step 100 and ends at 0.1: no fixed ε of PyTorch's Adam reproduces it. Source: Kingma & Ba 2015, end of
# section 2 (the "ε̂" form); Keras 2, optimizers/adam.


class KerasAdam(Optimizer):
    """Adam with Keras's place of ε.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        betas: decay of the running means of the gradient and of its square.
        eps: ε, added to √v.
    """

    def __init__(
        self, params: ParamsT, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-7
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._update(params, group)
        return loss

    def _update(self, params: list[Tensor], group: dict[str, Any]) -> None:
        """Update the parameters of one group, all tensors of them in a few calls."""
        lr, eps, (beta1, beta2) = group["lr"], group["eps"], group["betas"]
        for p in params:
            if not self.state[p]:
                self.state[p] = {"step": 0, "m": torch.zeros_like(p), "v": torch.zeros_like(p)}
            self.state[p]["step"] += 1
        grads = [p.grad for p in params if p.grad is not None]
        m, v = ([self.state[p][name] for p in params] for name in "mv")
        # A parameter counts its own steps: one frozen at first starts its bias correction when it thaws.
        steps = [self.state[p]["step"] for p in params]
        torch._foreach_lerp_(m, grads, 1 - beta1)
        torch._foreach_mul_(v, beta2)
        torch._foreach_addcmul_(v, grads, grads, 1 - beta2)
        denominators = torch._foreach_sqrt(v)
        torch._foreach_add_(denominators, eps)
        rates = [-lr * math.sqrt(1 - beta2**t) / (1 - beta1**t) for t in steps]
        torch._foreach_addcdiv_(params, m, denominators, rates)


_SCALES_AND_SHIFTS = (nn.BatchNorm2d, nn.BatchNorm1d, nn.LayerNorm, nn.GroupNorm)


def make_optimizer(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    """The optimiser over every trainable parameter of a model.

    Args:
        config: `train.optimizer` of a recipe.
        model: whose parameters it moves; those with `requires_grad=False` are left out.

    Returns:
        The optimiser. Its groups differ by weight decay, and by their `rate_scale` under layer-wise rates:
        the first has the recipe's own rate.
    """
    scales = layer_scales(model, config.layer_decay)
    kept = _scalars(model) if config.kind == "adamw" else set()
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((-scales[name], name in kept), []).append(parameter)
    options: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": config.lr * -negative,
            "rate_scale": -negative,
            "weight_decay": 0.0 if is_kept else config.weight_decay,
        }
        for (negative, is_kept), parameters in sorted(groups.items())
    ]
    if config.kind == "keras_adam":
        return KerasAdam(options, lr=config.lr, eps=config.eps)
    if config.kind == "sgd":
        return SGD(options, lr=config.lr, momentum=config.momentum)
    everything = [parameter for group in options for parameter in group["params"]]
    kind = Adam if config.kind == "adam" else AdamW
    return kind(options, lr=config.lr, eps=config.eps, fused=_fused(everything))


def layer_scales(model: nn.Module, decay: float) -> dict[str, float]:
    """The share of the learning rate that each parameter has: layer-wise rates.

    The blocks of the backbone count from its end: the last has the share `decay`, the one before it
    `decay²`; what follows the backbone has 1. Source: Howard and Ruder 2018, discriminative fine-tuning.

    Args:
        model: its backbone's parameters are named `backbone.…`, in the order in which they act.
        decay: between one block and the next; 1 gives all the same.
    """
    blocks = backbone_blocks(model)
    back = {block: len(blocks) - place for place, block in enumerate(blocks)}
    return {name: decay ** back.get(_block(name), 0) for name, _ in model.named_parameters()}


def backbone_blocks(model: nn.Module) -> list[str]:
    """The modules that a backbone is a chain of, as `backbone.<name>`, in the order in which they act."""
    names = [name for name, _ in model.named_parameters()]
    return list(dict.fromkeys(_block(name) for name in names if name.startswith("backbone.")))


def _block(name: str) -> str:
    """The part of a name up to its first number: `backbone.blocks.3` of a stage, `backbone.bn1` of a stem."""
    numbered = re.match(r"(backbone\.(?:[^.\d]+\.)*?[a-z_]*\d+)\.", name)
    return numbered.group(1) if numbered else name.rpartition(".")[0]


def _scalars(model: nn.Module) -> set[str]:
    """Names of the parameters that weight decay leaves alone: norm scales, biases, γ."""
    names = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if parameter.ndim <= 1 or isinstance(module, _SCALES_AND_SHIFTS):
                names.add(name)
    return names


def _fused(parameters: list[nn.Parameter]) -> bool:
    """Whether PyTorch has its one-kernel Adam for these: a third of the time of the next best on a CPU."""
    return all(p.device.type in ("cpu", "cuda") and p.dtype == torch.float32 for p in parameters)
