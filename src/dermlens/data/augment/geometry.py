"""Random views of a batch: one affine map an image, one sampling for all of them.

Shapes: B batch, C channels, H height, W width. Source: the paper's generator, P§1.7, which is Keras's
`ImageDataGenerator`: turn, shift, zoom (each axis by its own factor), then flips; beyond the edge the nearest
pixel goes on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from dermlens.data.config import AugmentConfig


def draw_maps(config: AugmentConfig, batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Random maps from a place in the view to a place in the image.

    Args:
        config: how far views may depart from the image.
        batch: how many.
        generator: none takes torch's own, of the CPU.

    Returns:
        float32 (B, 2, 3) on (x, y, 1), from the centre and in half sides: −1 … 1 spans it. Meant for
        squares, as the cache holds them; on other shapes a turn would shear.
    """
    device = torch.device("cpu") if generator is None else generator.device
    uniform_B5 = 2 * torch.rand(batch, 5, generator=generator, device=device) - 1
    flip_B2 = torch.rand(batch, 2, generator=generator, device=device) < 0.5
    angle_B = math.radians(config.rotation) * uniform_B5[:, 0]
    shift_B2 = 2 * config.shift * uniform_B5[:, 1:3]  # the side is two half sides
    scale_B2 = 1 + config.zoom * uniform_B5[:, 3:5]
    flips_2 = torch.tensor([config.horizontal_flip, config.vertical_flip], device=device)
    if config.scale is not None or config.aspect:
        scale_B2 = scale_B2 * _proportions(config, batch, generator)
    scale_B2[flip_B2 & flips_2] *= -1
    cos_B, sin_B = angle_B.cos(), angle_B.sin()
    turn_B22 = torch.stack([cos_B, -sin_B, sin_B, cos_B], dim=1).view(-1, 2, 2)
    return turn_B22 @ torch.cat([torch.diag_embed(scale_B2), shift_B2[..., None]], dim=2)


def _proportions(config: AugmentConfig, batch: int, generator: torch.Generator | None) -> Tensor:
    """Factors of the view's two sides, (B, 2): `scale` for both, `aspect` one against the other.

    Scale is uniform in its range; the logarithm of the aspect is, so that wide and high are as likely.
    """
    device = torch.device("cpu") if generator is None else generator.device
    uniform_B2 = torch.rand(batch, 2, generator=generator, device=device)
    low, high = config.scale or (1.0, 1.0)
    side_B = low + (high - low) * uniform_B2[:, 0]
    half_B = math.log1p(config.aspect) * (uniform_B2[:, 1] - 0.5)
    return torch.stack([side_B * half_B.exp(), side_B * (-half_B).exp()], dim=1)


def view(x_BCHW: Tensor, matrix_B23: Tensor) -> Tensor:
    """Look up each view's pixels in its image, bilinearly.

    Args:
        x_BCHW: float32, contiguous: the sampler is fastest on planes, even counting the way there and back.
        matrix_B23: as `draw_maps` gives it.

    Returns:
        float32, contiguous.
    """
    grid_BHW2 = _grid(matrix_B23, *x_BCHW.shape[2:])
    return grid_sample(x_BCHW, grid_BHW2, padding_mode="border", align_corners=False)


def _grid(matrix_B23: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel of the views lies in its image; `affine_grid` gives the same in ten times the time."""
    x_W = (2 * torch.arange(width, device=matrix_B23.device) + 1) / width - 1
    y_H = (2 * torch.arange(height, device=matrix_B23.device) + 1) / height - 1
    grid_BHW2 = torch.empty(len(matrix_B23), height, width, 2, device=matrix_B23.device)
    for axis in (0, 1):
        by_x, by_y, offset = matrix_B23[:, axis, :, None].unbind(1)
        torch.add((by_x * x_W)[:, None, :], (by_y * y_H + offset)[:, :, None], out=grid_BHW2[..., axis])
    return grid_BHW2
