"""Networks that no library has as the authors ran them, and the weights that Keras starts layers with."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn

from dermlens.models.table import ChannelOrder, KerasForm, Normalization

# Keras starts every dense and convolutional layer by `glorot_uniform` with a bias of zeros unless its author
# asks for another; PyTorch draws both from He's rule with a = √5, which makes the paper's metadata branch
# (21 → 4096) 5.7 times as wide. Source: `keras.src.initializers.random_initializers`.


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


# NASNet-A Mobile (Zoph et al. 2018, Fig. 4; 4 @ 1056), as keras.applications builds it.


_EPS = 1e-3


class NASNetMobile(nn.Module):
    """Stem of 32, two reduction cells, three stacks of four normal cells, a reduction between; 1000 logits.

    Every cell takes the outputs of the two before it. Input 224 × 224, last map 7 × 7 × 1056.
    """

    def __init__(self) -> None:
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
        self.classifier = nn.Linear(now[0], 1000)
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
        width_before = before if first else width  # the first cell takes the stem's output twice, as it is
        self.squeeze = squeeze(now, width)
        self.left1 = Separable(width, width, 5, stride=2)
        self.right1 = Separable(width_before, width, 7, stride=2)
        self.right2 = Separable(width_before, width, 7, stride=2)
        self.right3 = Separable(width_before, width, 5, stride=2)
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


# The authors' own VGG16: batch norm after each ReLU, Soft-Attention after the fourth block.


class VGG16Trunk(nn.Module):
    """The five blocks with 2×2 max-pools between, and no head. He-normal start, as the authors'."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = conv_block(3, (3, 1), 64)
        self.block2 = conv_block(64, (3, 1), 128)
        self.block3 = conv_block(128, (3, 3, 1), 256)
        self.block4 = conv_block(256, (3, 3, 1), 512)
        self.block5 = conv_block(512, (3, 3, 1), 512)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.pool(self.block1(x_BCHW))
        x_BCHW = self.pool(self.block2(x_BCHW))
        x_BCHW = self.pool(self.block3(x_BCHW))
        x_BCHW = self.pool(self.block4(x_BCHW))
        x_BCHW = self.block5(x_BCHW)
        return x_BCHW


class VGG16Tail(nn.Module):
    """What follows Soft-Attention: the fifth block, a 4×4 max-pool, two dense layers of 4096.

    Args:
        channels: of the pooled features that come in.
        side: their height and width.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.width = 4096
        self.block5 = conv_block(channels, (3, 3, 1), 512)
        self.pool = MaxPool2dSame(4, 4)
        flat = 512 * (-(-side // 4)) ** 2
        self.dense = nn.Sequential(nn.Linear(flat, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU())

    def forward(self, x_BCHW: Tensor) -> Tensor:
        features_BD: Tensor = self.dense(self.pool(self.block5(x_BCHW)).flatten(1))
        return features_BD


def conv_block(width: int, kernels: tuple[int, ...], out: int) -> nn.Sequential:
    """Convolution, ReLU, batch norm, for each kernel size."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, kernel in enumerate(kernels, start=1):
        conv = nn.Conv2d(width, out, kernel, padding=kernel // 2)
        he_normal_(conv.weight)
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        layers |= {
            f"conv{number}": conv,
            f"relu{number}": nn.ReLU(),
            f"bn{number}": nn.BatchNorm2d(out, eps=1e-3),
        }
        width = out
    return nn.Sequential(layers)


# What stands before a backbone.


class Normalize(nn.Module):
    """(x − mean) / std on RGB pixels of 0 to 255; its numbers travel with the weights.

    With `bgr` the colours are turned round first: the numbers, like the network, then meet blue first.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, numbers: Normalization, channel_order: ChannelOrder = "rgb") -> None:
        super().__init__()
        self.channel_order = channel_order
        self.register_buffer("mean", torch.tensor(numbers.mean, dtype=torch.float32).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(numbers.std, dtype=torch.float32).view(3, 1, 1))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.channel_order == "bgr":
            x_BCHW = x_BCHW.flip(1)
        return (x_BCHW - self.mean) / self.std


class JoinedBackbones(nn.Module):
    """Backbones side by side on the same pixels: their maps, channel behind channel.

    Args:
        members: (of its pixels, the backbone), in the order of their channels.
    """

    def __init__(self, members: Sequence[tuple[Normalization, nn.Module]]) -> None:
        super().__init__()
        self.normalize = nn.ModuleList(Normalize(numbers) for numbers, _ in members)
        self.members = nn.ModuleList(backbone for _, backbone in members)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Maps of equal height and width, from pixels of 0 to 255."""
        pairs = zip(self.normalize, self.members, strict=True)
        return torch.cat([backbone(normalize(x_BCHW)) for normalize, backbone in pairs], dim=1)
