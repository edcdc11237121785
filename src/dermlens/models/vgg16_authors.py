"""The authors' own VGG16: batch norm after each ReLU, Soft-Attention after the fourth block."""

from __future__ import annotations

from collections import OrderedDict

from timm.layers.pool2d_same import MaxPool2dSame
from torch import Tensor, nn

from dermlens.models.keras_start import he_normal_


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
