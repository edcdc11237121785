"""How Keras draws the weights of layers that start at random.

Keras starts every dense and convolutional layer by `glorot_uniform` with a bias of zeros unless its author
asks for another; PyTorch draws both from He's rule with a = √5, which makes the paper's metadata branch
(21 → 4096) 5.7 times as wide. Source: `keras.src.initializers.random_initializers`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dermlens.models.table import KerasForm

_TRUNCATED = 0.87962566103423978
"""Deviation of a standard normal that is cut off at ±2, as Keras has it."""


@torch.no_grad()
def start_backbone(network: nn.Module, form: KerasForm) -> None:
    """Draw the weights of a backbone as keras.applications does, in place.

    Args:
        network: the library's uncut network.
        form: of its row.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            # NASNet's separable convolutions keep Keras's own rule in both halves.
            separable = module.groups > 1 or "pointwise" in name
            draw = he_normal_ if form.he_normal and not separable else glorot_uniform_
            draw(module.weight)
            _empty_bias(module)
        elif isinstance(module, nn.Linear):
            start_dense(module)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


@torch.no_grad()
def start_dense(layer: nn.Linear) -> None:
    """Glorot uniform and a bias of zeros, in place."""
    glorot_uniform_(layer.weight)
    _empty_bias(layer)


def glorot_uniform_(weight: Tensor) -> Tensor:
    """Uniform within ±√(6 / (fan in + fan out)).

    Args:
        weight: of a dense layer, out × in, or of a convolution, out × in × rows × columns. One with a single
            input channel is taken for a depthwise one, whose Keras kernel is rows × columns × channels × 1.
    """
    fan_in, fan_out = keras_fans(weight)
    limit = math.sqrt(6 / (fan_in + fan_out))
    return nn.init.uniform_(weight, -limit, limit)


def he_normal_(weight: Tensor) -> Tensor:
    """Normal of deviation √(2 / fan in), cut off at twice what makes that its deviation."""
    deviation = math.sqrt(2 / keras_fans(weight)[0]) / _TRUNCATED
    return nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


def keras_fans(weight: Tensor) -> tuple[int, int]:
    """Fan in and fan out as Keras counts them, see `glorot_uniform_`."""
    outputs, inputs, *sides = weight.shape
    field = math.prod(sides)
    if sides and inputs == 1:
        outputs, inputs = inputs, outputs
    return inputs * field, outputs * field


def _empty_bias(layer: nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
