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


Layers = Literal["plain", "first", "both_ways"]


class SpectralNet(nn.Module):
    """The authors' network on 149 px: three convolutions, each with a spectral layer or without, and a mean.

    Args:
        num_classes: how many logits.
        layers: `plain`; `first`, a cosine transform behind the first convolution; `both_ways`, its inverse
            behind the second and a transform behind the third too.
        start: of the layers.
    """

    def __init__(self, num_classes: int, layers: Layers = "both_ways", start: Start = "transform") -> None:
        super().__init__()
        first, others = layers != "plain", layers == "both_ways"
        self.stages = nn.Sequential(
            nn.Conv2d(3, 32, 8, stride=3),
            Spectral("dct", (48, 48), start) if first else nn.Identity(),
            nn.LeakyReLU(),
            nn.Conv2d(32, 64, 5, stride=3, padding=1),
            Spectral("inverse_dct", (16, 16), start) if others else nn.Identity(),
            nn.LeakyReLU(),
            nn.Conv2d(64, 128, 3, padding=1),
            Spectral("dct", (16, 16), start) if others else nn.Identity(),
            nn.LeakyReLU(),
        )
        self.linear = nn.Linear(128, num_classes)

    def forward(self, x_B3HW: Tensor) -> Tensor:
        """logits_BC of normalised images of 149 × 149."""
        logits_BC: Tensor = self.linear(self.stages(x_B3HW).mean(dim=(2, 3)))
        return logits_BC


class SpectralHead(nn.Module):
    """The head as the paper describes it: global average, a convolution along the channels, Fourier, linear.

    Args:
        channels: of the map.
        num_classes: how many logits.
        taps: of the convolution, odd.
    """

    def __init__(self, channels: int, num_classes: int, taps: int = 3) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(1, 1, taps, padding=taps // 2)
        self.transform = Spectral("dft", (1, channels))
        self.linear = nn.Linear(2 * channels, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """logits_BC."""
        pooled_B1C = self.convolution(x_BCHW.mean(dim=(2, 3))[:, None])
        logits_BC: Tensor = self.linear(self.transform(F.leaky_relu(pooled_B1C)[:, None]).flatten(1))
        return logits_BC
