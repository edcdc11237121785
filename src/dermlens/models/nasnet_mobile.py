"""NASNet-A Mobile (Zoph et al. 2018, Fig. 4; 4 @ 1056), as keras.applications builds it."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn

_EPS = 1e-3


class NASNetMobile(nn.Module):
    """Stem of 32, two reduction cells, three stacks of four normal cells, a reduction between; 1000 logits.

    Every cell takes the outputs of the two before it. Input 224 × 224, last map 7 × 7 × 1056.
    """

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        filters, repeats = 1056 // 24, 4
        self.stem_conv = nn.Conv2d(3, 32, 3, stride=2, bias=False)
        self.stem_bn = nn.BatchNorm2d(32, eps=_EPS)
        self.cells = nn.ModuleList([ReductionCell(32, 32, filters // 4, halve_before=False, first=True)])
        before, now = (32, 1), (filters, 2)  # channels and relative side of the last two outputs
        plan: list[tuple[type[NormalCell | ReductionCell], int]] = [(ReductionCell, filters // 2)]
        for stack in range(3):
            if stack:
                plan.append((ReductionCell, filters * 2**stack))
            plan += [(NormalCell, filters * 2**stack)] * repeats
        for kind, width in plan:
            cell = kind(now[0], before[0], width, halve_before=before[1] != now[1])
            self.cells.append(cell)
            before, now = now, (cell.out, now[1] * (2 if kind is ReductionCell else 1))
        self.act = nn.ReLU()
        self.classifier = nn.Linear(now[0], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        now = self.stem_bn(self.stem_conv(x_BCHW))
        before = now
        for cell in self.cells:
            before, now = now, cell(now, before)
        logits_BC: Tensor = self.classifier(self.act(now).mean(dim=(2, 3)))
        return logits_BC


class NormalCell(nn.Module):
    """Five sums of separable convolutions and 3×3 averages, joined to the cell before; keeps the side."""

    def __init__(self, now: int, before: int, width: int, *, halve_before: bool) -> None:
        super().__init__()
        self.out = 6 * width
        self.adjust = adjust(before, width, halve=halve_before)
        self.squeeze = squeeze(now, width)
        self.left1 = Separable(width, width, 5)
        self.right1 = Separable(width, width, 3)
        self.left2 = Separable(width, width, 5)
        self.right2 = Separable(width, width, 3)
        self.average = nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
        self.left5 = Separable(width, width, 3)

    def forward(self, now: Tensor, before: Tensor) -> Tensor:
        p = self.adjust(before)
        h = self.squeeze(now)
        y1 = self.left1(h) + self.right1(p)
        y2 = self.left2(p) + self.right2(p)
        y3 = self.average(h) + p
        y4 = self.average(p) + self.average(p)
        y5 = self.left5(h) + h
        return torch.cat([p, y1, y2, y3, y4, y5], dim=1)


class ReductionCell(nn.Module):
    """As the normal cell, with strides: halves the side."""

    def __init__(self, now: int, before: int, width: int, *, halve_before: bool, first: bool = False) -> None:
        super().__init__()
        self.out = 4 * width
        self.adjust = nn.Identity() if first else adjust(before, width, halve=halve_before)
        beside = before if first else width  # the first cell takes the stem's output twice, as it is
        self.squeeze = squeeze(now, width)
        self.left1 = Separable(width, width, 5, stride=2)
        self.right1 = Separable(beside, width, 7, stride=2)
        self.right2 = Separable(beside, width, 7, stride=2)
        self.right3 = Separable(beside, width, 5, stride=2)
        self.pad = PadSame(3)
        self.average = nn.AvgPool2d(3, 1, padding=1, count_include_pad=False)
        self.left4 = Separable(width, width, 3)

    def forward(self, now: Tensor, before: Tensor) -> Tensor:
        p = self.adjust(before)
        h = self.squeeze(now)
        padded = self.pad(h)  # with zeros, under the maximum too, as Keras does
        maximum = F.max_pool2d(padded, 3, stride=2)
        y1 = self.left1(h) + self.right1(p)
        y2 = maximum + self.right2(p)
        y3 = F.avg_pool2d(padded, 3, stride=2) + self.right3(p)
        y4 = self.average(y1) + y2
        y5 = self.left4(y1) + maximum
        return torch.cat([y2, y3, y4, y5], dim=1)


class Separable(nn.Module):
    """Twice: ReLU, depthwise and pointwise convolution, batch norm; the first may stride."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.act_1 = nn.ReLU()
        self.conv_1 = separable_conv(channels, out, kernel, stride)
        self.bn_1 = nn.BatchNorm2d(out, eps=_EPS)
        self.act_2 = nn.ReLU()
        self.conv_2 = separable_conv(out, out, kernel, 1)
        self.bn_2 = nn.BatchNorm2d(out, eps=_EPS)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.bn_1(self.conv_1(self.act_1(x_BCHW)))
        x_BCHW = self.bn_2(self.conv_2(self.act_2(x_BCHW)))
        return x_BCHW


class PadSame(nn.Module):
    """Zeros for a window of stride 2, as TensorFlow's SAME: those at the bottom and right first."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x_BCHW: Tensor) -> Tensor:
        padded_BCHW: Tensor = pad_same(x_BCHW, [self.kernel, self.kernel], [2, 2])
        return padded_BCHW


def separable_conv(channels: int, out: int, kernel: int, stride: int) -> nn.Sequential:
    """Depthwise, then pointwise convolution, without biases."""
    kind = Conv2dSame if stride > 1 else nn.Conv2d
    depthwise = kind(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
    pointwise = nn.Conv2d(channels, out, 1, bias=False)
    return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise))


def squeeze(channels: int, width: int) -> nn.Sequential:
    """ReLU, 1×1 convolution, batch norm."""
    return nn.Sequential(
        nn.ReLU(), nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width, eps=_EPS)
    )


def adjust(channels: int, width: int, *, halve: bool) -> nn.Module:
    """Bring the output of the cell before to the width, and to the side, of this cell."""
    if halve:
        return FactorizedReduction(channels, width)
    return squeeze(channels, width) if channels != width else nn.Identity()


class FactorizedReduction(nn.Module):
    """Every second pixel, and every second one after it, each to half of the width."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.even = nn.Conv2d(channels, width // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(channels, width // 2, 1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=_EPS)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.act(x_BCHW)
        shifted_BCHW = F.pad(x_BCHW, (-1, 1, -1, 1))
        halved_BCHW: Tensor = self.bn(torch.cat([self.even(x_BCHW), self.odd(shifted_BCHW)], dim=1))
        return halved_BCHW
