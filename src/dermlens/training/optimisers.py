"""The optimiser that a recipe asks for."""

from __future__ import annotations

import re
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
