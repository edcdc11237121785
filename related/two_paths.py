"""A network of two paths with squeeze-and-excitation blocks, a reading of Nadipineni 2020 ([9]).

What is known of the article's network (arXiv 2008.09418) is that it has two paths; the paper adds the SE
blocks. Layers, widths and how the paths meet were not found. Here both paths see the whole image: one by 3×3
kernels, one by 5×5, each four times convolution of stride 2, batch norm, ReLU and an SE block (Hu et al.
2018, of torchvision), and their maps are set side by side.
"""

from __future__ import annotations

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torchvision.ops import SqueezeExcitation

from dermlens.documents import Section
from dermlens.plugins import plugin


class TwoPathsConfig(Section):
    """Attributes:
    widths: channels behind each convolution of a path.
    kernels: side of the kernels, a path each.
    reduction: of the SE blocks.
    """

    widths: tuple[PositiveInt, ...] = Field((16, 32, 64, 128), min_length=1)
    kernels: tuple[PositiveInt, ...] = Field((3, 5), min_length=1)
    reduction: PositiveInt = 4


class TwoPaths(nn.Module):
    """Arguments are those of `TwoPathsConfig`."""

    def __init__(self, widths: tuple[int, ...], kernels: tuple[int, ...], reduction: int) -> None:
        super().__init__()
        self.paths = nn.ModuleList(_path(widths, kernel, reduction) for kernel in kernels)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """A map of as many channels as the paths have at their ends together."""
        return torch.cat([path(x_B3HW) for path in self.paths], dim=1)


def _path(widths: tuple[int, ...], kernel: int, reduction: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in zip((3, *widths), widths, strict=False):
        layers += [
            nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            SqueezeExcitation(outputs, max(1, outputs // reduction)),
        ]
    return nn.Sequential(*layers)


@plugin("backbone", TwoPathsConfig, size=128)
def two_paths(widths: tuple[int, ...], kernels: tuple[int, ...], reduction: int) -> nn.Module:
    """For `model.backbone: related.two_paths:two_paths`."""
    return TwoPaths(widths, kernels, reduction)
