"""From a library's network to the one of keras.applications: same parameters, slightly different function.

And how Keras trains it: what a step leaves of the moving statistics, and the dropout before the last layer.
The moving variance is of the unbiased variance of a batch, as PyTorch has it: the fused kernel by which
Keras 2 runs batch norm on images (TensorFlow's `FusedBatchNormV3`) does the same. Keras 3 averages the biased
one.
"""

from __future__ import annotations

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.pool2d_same import AvgPool2dSame, MaxPool2dSame
from timm.models.resnet import Bottleneck
from torch import nn

from dermlens.models.nasnet_mobile import PadSame
from dermlens.models.table import KerasForm


def to_keras_form(network: nn.Module, form: KerasForm) -> None:
    """Adjust a network in place; parameters, their names and their number stay.

    Args:
        network: the library's uncut network.
        form: what differs for this row.
    """
    if form.eps is not None:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = form.eps
    if form.same_padding:
        _pad_same(network)
    if form.zero_padded_pools:
        _pad_pools_with_zeros(network)
    if form.stride_first:
        _stride_first(network)


def to_keras_training(network: nn.Module, form: KerasForm) -> None:
    """Train as Keras does, in place; what the network computes once it is trained does not change.

    Args:
        network: the library's uncut network.
        form: of its row.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1 - form.momentum
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    if form.dropout:
        before = network.get_submodule(form.dropout_behind)
        setattr(network, form.dropout_behind, nn.Sequential(before, nn.Dropout(form.dropout)))


def fix_norm_scales(network: nn.Module) -> None:
    """Make the scale of every batch norm a buffer of ones: Keras's InceptionResNetV2 has none to learn.

    The entry keeps its name in the state dict, so that weights of the library load.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            ones = torch.ones_like(module.weight.detach())
            del module.weight
            module.register_buffer("weight", ones)


def _pad_same(network: nn.Module) -> None:
    """Strided convolutions pad on the bottom and right first; those of stride 1 already pad evenly."""
    for parent in list(network.modules()):
        for name, conv in list(parent.named_children()):
            if isinstance(conv, nn.Conv2d) and max(conv.stride) > 1:
                same = Conv2dSame(
                    conv.in_channels,
                    conv.out_channels,
                    conv.kernel_size[0],
                    stride=conv.stride[0],
                    groups=conv.groups,
                    bias=conv.bias is not None,
                    device="meta",
                )
                same.weight, same.bias = conv.weight, conv.bias
                setattr(parent, name, same)


def _pad_pools_with_zeros(network: nn.Module) -> None:
    """Strided pools take the zeros around the map into their maximum or average."""
    for parent in list(network.modules()):
        for name, pool in list(parent.named_children()):
            if isinstance(pool, (MaxPool2dSame, AvgPool2dSame)):
                kind = nn.MaxPool2d if isinstance(pool, MaxPool2dSame) else nn.AvgPool2d
                setattr(parent, name, nn.Sequential(PadSame(3), kind(3, stride=2)))


def _stride_first(network: nn.Module) -> None:
    """ResNet v1 strides in a bottleneck's first 1×1 convolution; libraries stride in its 3×3 (v1.5)."""
    for module in network.modules():
        if isinstance(module, Bottleneck):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, module.conv1.stride
