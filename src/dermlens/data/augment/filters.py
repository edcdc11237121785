"""What an operation of a policy does to pixels that no affine map of colours can.

Each takes float32 x_B3HW in 0 … 255 and a strength for each image, and keeps to 0 … 255. The first three are
torchvision's `adjust_sharpness`, `autocontrast` and `adjust_gamma`, for a batch of images that differ in
strength; the last is its `gaussian_blur`.

Shapes: B batch, H height, W width, K taps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

WIDEST_BLUR = 0.01


def sharpen(x_B3HW: Tensor, strength_B: Tensor) -> Tensor:
    """Add s·(x − x̄), x̄ being smoothed by (1 1 1, 1 5 1, 1 1 1)/13; the outermost pixels stay."""
    height, width = x_B3HW.shape[2:]
    if min(height, width) < 3:
        return x_B3HW
    # in place, tap by tap, as fresh memory costs more than the arithmetic; x − x̄ = (8x − Σ of the eight)/13
    out_B3HW, part_B111 = x_B3HW.clone(), _column(strength_B / 13)
    inner_B3HW = out_B3HW[:, :, 1:-1, 1:-1].mul_(1 + 8 * part_B111)
    for row, column in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)):
        neighbour_B3HW = x_B3HW.narrow(2, row, height - 2).narrow(3, column, width - 2)
        inner_B3HW.addcmul_(neighbour_B3HW, part_B111, value=-1)
    return out_B3HW.clamp_(0, 255)


def autocontrast(x_B3HW: Tensor, strength_B: Tensor) -> Tensor:  # noqa: ARG001 - it has none
    """Stretch each channel until its darkest pixel is 0 and its brightest 255; a blank channel stays."""
    low_B311, high_B311 = x_B3HW.amin((2, 3), keepdim=True), x_B3HW.amax((2, 3), keepdim=True)
    blank_B311 = high_B311 == low_B311
    scale_B311 = torch.where(blank_B311, 1, 255 / (high_B311 - low_B311))
    offset_B311 = torch.where(blank_B311, 0, -low_B311 * scale_B311)
    return (x_B3HW * scale_B311 + offset_B311).clamp_(0, 255)


def gamma(x_B3HW: Tensor, strength_B: Tensor) -> Tensor:
    """255·(x/255)^exp(s): darker from 0 up, brighter below."""
    return (x_B3HW / 255).pow_(_column(strength_B.exp())).mul_(255)


def blur(x_B3HW: Tensor, strength_B: Tensor) -> Tensor:
    """Convolve with a Gaussian of σ = s·width, s ≤ WIDEST_BLUR, the image mirrored at its edges."""
    width = x_B3HW.shape[3]
    sigma_B1 = (strength_B * width)[:, None].clamp(min=1e-3)
    # to 3σ of the widest for all of them: an image shall not depend on those beside it
    radius = min(math.ceil(3 * WIDEST_BLUR * width), *(side - 1 for side in x_B3HW.shape[2:]))
    offset_K = torch.arange(-radius, radius + 1, device=x_B3HW.device)
    weight_BK = torch.softmax(-((offset_K / sigma_B1) ** 2) / 2, dim=1)
    for axis, margin in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        padded, side = pad(x_B3HW, margin, mode="reflect"), x_B3HW.shape[axis]
        x_B3HW = _column(weight_BK[:, 0]) * padded.narrow(axis, 0, side)
        for tap in range(1, 2 * radius + 1):
            x_B3HW.addcmul_(_column(weight_BK[:, tap]), padded.narrow(axis, tap, side))
    return x_B3HW


def _column(value_B: Tensor) -> Tensor:
    return value_B[:, None, None, None]
