"""Two networks of Garg et al. 2019 (arXiv 1912.03798, [3]): their own one, and VGG16.

The layers of their own one were not found. Here are four blocks of a 3×3 convolution, batch norm, ReLU and
2×2 max-pooling. VGG16 is torchvision's up to its last map.
"""

from __future__ import annotations

from collections import OrderedDict

from pydantic import Field, PositiveInt
from torch import nn
from torchvision.models import vgg16 as of_torchvision

from dermlens.documents import Section
from dermlens.models.table import IMAGENET
from dermlens.plugins import plugin


class OwnCNNConfig(Section):
    """Attributes:
    widths: channels of each block.
    """

    widths: tuple[PositiveInt, ...] = Field((16, 32, 64, 128), min_length=1)


@plugin("backbone", OwnCNNConfig, size=128)
def own_cnn(widths: tuple[int, ...]) -> nn.Module:
    """For `model.backbone: related.own_cnn:own_cnn`."""
    layers: list[nn.Module] = []
    for inputs, outputs in zip((3, *widths), widths, strict=False):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


@plugin("backbone", size=224, mean=IMAGENET.mean, std=IMAGENET.std)
def vgg16() -> nn.Module:
    """For `model.backbone: related.own_cnn:vgg16`; names are those of torchvision's files of weights."""
    return nn.Sequential(OrderedDict(features=of_torchvision(weights=None).features))
