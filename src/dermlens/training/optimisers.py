"""The optimiser that a recipe asks for."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from dermlens.training.config import OptimizerConfig
from dermlens.training.keras_adam import KerasAdam

_SCALES_AND_SHIFTS = (nn.BatchNorm2d, nn.BatchNorm1d, nn.LayerNorm, nn.GroupNorm)


def make_optimizer(config: OptimizerConfig, model: nn.Module) -> Optimizer:
    """The optimiser over every trainable parameter of a model.

    Args:
        config: `train.optimizer` of a recipe.
        model: whose parameters it moves; those with `requires_grad=False` are left out.

    Returns:
        The optimiser. With weight decay there are two groups: decayed, and not.
    """
    kept, decayed = _by_decay(model)
    if config.kind == "keras_adam":
        return KerasAdam(decayed + kept, lr=config.lr, eps=config.eps)
    if config.kind == "sgd":
        return SGD(decayed + kept, lr=config.lr, momentum=config.momentum)
    adam: dict[str, Any] = {"lr": config.lr, "eps": config.eps, "fused": _fused(decayed + kept)}
    if config.kind == "adam":
        return Adam(decayed + kept, **adam)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return AdamW([group for group in groups if group["params"]], **adam)


def _by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters that weight decay leaves alone (norm scales, biases, γ), and the others."""
    kept: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad:
                scalar = parameter.ndim <= 1 or isinstance(module, _SCALES_AND_SHIFTS)
                (kept if scalar else decayed).append(parameter)
    return kept, decayed


def _fused(parameters: list[nn.Parameter]) -> bool:
    """Whether PyTorch has its one-kernel Adam for these: a third of the time of the next best on a CPU."""
    return all(p.device.type in ("cpu", "cuda") and p.dtype == torch.float32 for p in parameters)
