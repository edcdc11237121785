"""Soft-Attention (the paper's Eq. 1 and Fig. 6): K maps over positions, summed, multiplied into the features.

B batch, C channels, H × W positions, K heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dermlens.models.table import AttentionKernel, Placebo


class CorrectedKernel(nn.Module):
    """3×3 convolution from all channels to K heads: what the equation means. 9·C·K + K parameters."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_he_uniform(heads, channels, 3, 3, fan_in=9 * channels))
        self.bias = nn.Parameter(torch.zeros(heads))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pre-activations BKHW."""
        return F.conv2d(x_BCHW, self.weight, self.bias, padding=1)


class OriginalKernel(nn.Module):
    """The authors' Conv3D, its kernel (C, 3, 3, 1, K) on height × width × channel. 9·C·K + K parameters.

    The axis of length C lies on the height, the channel axis is strided by C: channels 0 to 2 alone reach the
    maps, and of the C kernel rows the 2H−1 that can overlap the map. What is left is one 2-D convolution of
    three channels:

        pre[h, w, m] = b[m] + Σ K[h' − h + ⌊(C−1)/2⌋, dw + 1, c, 0, m] · x[h', w + dw, c]
                       over all rows h', dw in −1…1, c in 0…2, x being 0 outside.

    The idle rest of the kernel is kept, for it is part of the published counts; its axis of length 1 is not.
    TensorFlow's rule of SAME padding gives channels 0 to 2; one of its CPU kernels reads the middle ones.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(_he_uniform(channels, 3, 3, heads, fan_in=9 * channels))
        self.bias = nn.Parameter(torch.zeros(heads))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pre-activations BKHW."""
        rows, height = self.weight.shape[0], x_BCHW.shape[2]
        middle = (rows - 1) // 2
        up = min(height - 1, middle)  # how far a kernel row can reach above its output, and below it
        down = min(height - 1, rows - 1 - middle)
        used = self.weight[middle - up : middle + down + 1]  # rows, width, channel, head
        x_padded = F.pad(x_BCHW[:, :3], (1, 1, up, down))
        return F.conv2d(x_padded, used.permute(3, 2, 0, 1), self.bias)


class UniformKernel(nn.Module):
    """A placebo: every position alike, so that the module's head is there and its attention is not."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Pre-activations BKHW, all zero."""
        return torch.zeros_like(x_BCHW[:, :1]).expand(-1, self.heads, -1, -1)


class FrozenKernel(CorrectedKernel):
    """A placebo: the corrected kernel as it was drawn, which learns nothing."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__(channels, heads)
        self.requires_grad_(requires_grad=False)


def build_kernel(kind: AttentionKernel | Placebo, channels: int, heads: int) -> nn.Module:
    """The kernel of a kind, for C channels and K heads; x_BCHW to pre-activations BKHW."""
    match kind:
        case "original":
            return OriginalKernel(channels, heads)
        case "corrected":
            return CorrectedKernel(channels, heads)
        case "uniform":
            return UniformKernel(heads)
        case "frozen":
            return FrozenKernel(channels, heads)


class SoftAttention(nn.Module):
    """The attended features and the maps that weighted them.

    Args:
        channels: C.
        heads: K.
        kernel: `original` or `corrected`, with equal parameter counts; or a placebo, `uniform` or `frozen`.
        gamma: learn the scalar γ of Eq. 1, which the authors' code leaves out. It starts at 1, so that the
            network starts as theirs.
    """

    def __init__(
        self, channels: int, heads: int = 16, *, kernel: AttentionKernel | Placebo, gamma: bool = False
    ) -> None:
        super().__init__()
        self.kernel = build_kernel(kernel, channels, heads)
        self.gamma = nn.Parameter(torch.ones(())) if gamma else None

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Weight every channel by the sum of the maps.

        Args:
            x_BCHW: a feature map.

        Returns:
            The attended map, of x's shape, and alpha_BKHW, which sums to 1 over the positions of each head.
        """
        pre_BKHW = F.relu(self.kernel(x_BCHW))
        alpha_BKHW = pre_BKHW.flatten(2).softmax(dim=2).view_as(pre_BKHW)
        attended_BCHW = x_BCHW * alpha_BKHW.sum(dim=1, keepdim=True)
        if self.gamma is not None:
            attended_BCHW = self.gamma * attended_BCHW
        return attended_BCHW, alpha_BKHW


def _he_uniform(*shape: int, fan_in: int) -> Tensor:
    """Keras's he_uniform: uniform within ±√(6 / fan_in)."""
    limit = math.sqrt(6 / fan_in)
    return torch.empty(*shape).uniform_(-limit, limit)
