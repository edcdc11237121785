"""Trainable spectral layers (Alberti et al. 2019, arXiv 1911.05045), and the small network made of them.

A layer maps each channel by Y = A·X·Bᵀ with trainable A and B that begin as a transform: the cosine one
(DCT-II), its inverse, or Fourier's, whose amplitudes and phases are two maps. The authors' net has a layer
behind each of its three convolutions. What is claimed for the start needs its controls: `random` begins at
Xavier's values, `fixed` never learns, and `plain` has no layer.

Shapes: B batch, C channels, H × W positions.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import fft
from torch import Tensor, nn

from dermlens.documents import Section
from dermlens.plugins import plugin

Transform = Literal["dct", "inverse_dct", "dft"]
Start = Literal["transform", "random", "fixed"]

TINY = 1e-8
"""Added under the root of an amplitude, whose slope at 0 would be infinite without."""


def matrix(transform: Transform, side: int) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the matrix of a transform along one axis, (side, side) each.

    The cosine transforms are orthonormal, so that one undoes the other; Fourier's is scaled by 1/√side. The
    authors' differ by constants of the rows or columns: their cosines are unscaled, or times √(3/side).
    """
    one = np.eye(side)
    if transform == "dft":
        found = fft.fft(one, axis=0, norm="ortho")
        return torch.from_numpy(found.real).float(), torch.from_numpy(found.imag).float()
    made = fft.dct if transform == "dct" else fft.idct
    real = torch.from_numpy(made(one, axis=0, norm="ortho")).float()
    return real, torch.zeros_like(real)


class Spectral(nn.Module):
    """A·X·Bᵀ of each channel, without a bias.

    Args:
        transform: that A and B begin as; for `dft` the channels double: amplitudes, then phases.
        size: height and width of the map.
        start: `transform`; `random`, of the same parameters; or `fixed`, which does not learn.
    """

    a_real: Tensor
    a_imaginary: Tensor
    b_real: Tensor
    b_imaginary: Tensor

    def __init__(self, transform: Transform, size: tuple[int, int], start: Start = "transform") -> None:
        super().__init__()
        self.complex = transform == "dft"
        parts = {}
        for name, side in zip("ab", size, strict=True):
            parts[f"{name}_real"], parts[f"{name}_imaginary"] = matrix(transform, side)
        for name, values in parts.items():
            if name.endswith("imaginary") and not self.complex:
                continue
            parameter = nn.Parameter(values, requires_grad=start != "fixed")
            if start == "random":
                nn.init.xavier_normal_(parameter)
            self.register_parameter(name, parameter)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The transformed map; with Fourier's (B, 2C, H, W).

        Raises:
            RuntimeError: the map has another size than the layer.
        """
        if not self.complex:
            return self.a_real @ x_BCHW @ self.b_real.T
        left_real, left_imaginary = self.a_real @ x_BCHW, self.a_imaginary @ x_BCHW
        real = left_real @ self.b_real.T - left_imaginary @ self.b_imaginary.T
        imaginary = left_real @ self.b_imaginary.T + left_imaginary @ self.b_real.T
        amplitude = (real.square() + imaginary.square() + TINY).sqrt()
        return torch.cat([amplitude, torch.atan2(imaginary, real + TINY)], dim=1)


Layers = Literal["plain", "wide", "deep", "first", "both_ways", "fourier"]


class SpectralNet(nn.Module):
    """The authors' network on 149 px up to its last map: three convolutions, spectral layers behind some.

    Controls without a layer are `plain`; `wide`, whose last convolution has 138 channels in place of 128, so
    that it has 0.15 % more parameters than `both_ways`; and `deep`, with the authors' one more of 3×3.
    Of `fourier` the first convolution has 14 channels, which double: 0.5 % fewer parameters than `plain`. How
    the authors' widths of 26 and 27 count was not found.

    Args:
        layers: `first`, a cosine transform behind the first convolution; `both_ways`, its inverse behind the
            second and a transform behind the third too; `fourier`, Fourier's behind the first; or a control.
        start: of the layers.
    """

    def __init__(self, layers: Layers = "both_ways", start: Start = "transform") -> None:
        super().__init__()
        fourier, both = layers == "fourier", layers == "both_ways"
        behind_first: nn.Module = nn.Identity()
        if fourier:
            behind_first = Spectral("dft", (48, 48), start)
        elif layers in ("first", "both_ways"):
            behind_first = Spectral("dct", (48, 48), start)
        elif layers == "deep":
            behind_first = nn.Sequential(nn.LeakyReLU(), nn.Conv2d(32, 32, 3, padding=1))
        last = 138 if layers == "wide" else 128
        self.stages = nn.Sequential(
            nn.Conv2d(3, 14 if fourier else 32, 8, stride=3),
            behind_first,
            nn.LeakyReLU(),
            nn.Conv2d(28 if fourier else 32, 64, 5, stride=3, padding=1),
            Spectral("inverse_dct", (16, 16), start) if both else nn.Identity(),
            nn.LeakyReLU(),
            nn.Conv2d(64, last, 3, padding=1),
            Spectral("dct", (16, 16), start) if both else nn.Identity(),
            nn.LeakyReLU(),
        )

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """The last map of normalised images of 149 × 149, of 16 × 16 positions."""
        map_BCHW: Tensor = self.stages(x_B3HW)
        return map_BCHW


class DescribedHead(nn.Module):
    """As the paper has it, before the softmax: average, a convolution along channels, Fourier.

    Args:
        channels: of the map.
        taps: of the convolution, odd.
    """

    def __init__(self, channels: int, taps: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 1, taps, padding=taps // 2)
        self.transform = Spectral("dft", (1, channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """A map of one position and twice the channels: amplitudes, then phases."""
        pooled_B1C = self.convolution(x_BCHW.mean(dim=(2, 3))[:, None])
        map_BD11: Tensor = self.transform(F.leaky_relu(pooled_B1C)[:, None]).flatten(1)[:, :, None, None]
        return map_BD11


class SpectralConfig(Section):
    """Attributes:
    layers, start: of `SpectralNet`.
    head: put the described head behind it.
    """

    layers: Layers = "both_ways"
    start: Start = "transform"
    head: bool = False


@plugin("backbone", SpectralConfig, size=149)
def spectral_net(layers: Layers, start: Start, head: bool) -> nn.Module:
    """For `model.backbone: related.spectral:spectral_net`, with `pool: gap` and `data.size: 149`."""
    network = SpectralNet(layers, start)
    return nn.Sequential(network, DescribedHead(138 if layers == "wide" else 128)) if head else network
