"""CutOut: square holes at random places (DeVries & Taylor 2017, arXiv 1708.04552).

As there, a hole's centre is uniform over the image and the hole is clipped at its border. A hole is filled
with the mean colour of its image, where the authors, after normalising, took the mean of the data: so the
mean of the image, and with it what a network can guess of its skin, stays as it was.

Shapes: B batch, H height, W width, K holes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dermlens.data.config import CutOutConfig


def draw_holes(config: CutOutConfig | None, batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Random centres, (row, column) as shares of height and width.

    Args:
        config: `augment.cutout` of a recipe; none draws nothing, and K is 0.
        batch: how many images.
        generator: none takes torch's own, of the CPU.

    Returns:
        float32 (B, K, 2) in 0 … 1.
    """
    device = torch.device("cpu") if generator is None else generator.device
    if config is None:
        return torch.empty(batch, 0, 2, device=device)
    return torch.rand(batch, config.holes, 2, generator=generator, device=device)


def cut_out(x_B3HW: Tensor, centre_BK2: Tensor, side: float) -> Tensor:
    """Fill the holes.

    Args:
        x_B3HW: float32.
        centre_BK2: as `draw_holes` gives them.
        side: of a hole: below 1 a share of the image's shorter side, from 1 on pixels.
    """
    height, width = x_B3HW.shape[2:]
    pixels = round(side * min(height, width)) if side < 1 else round(side)
    hole_BHW = torch.zeros(len(x_B3HW), height, width, dtype=torch.bool, device=x_B3HW.device)
    for centre_B2 in centre_BK2.unbind(1):
        rows_BH, columns_BW = (
            _inside(centre_B, length, pixels)
            for centre_B, length in zip(centre_B2.unbind(1), (height, width), strict=True)
        )
        hole_BHW |= rows_BH[:, :, None] & columns_BW[:, None, :]
    return torch.where(hole_BHW[:, None], x_B3HW.mean((2, 3), keepdim=True), x_B3HW)


def _inside(centre_B: Tensor, length: int, side: int) -> Tensor:
    """Which places along an axis lie within a hole."""
    first_B1 = ((centre_B * length).long() - side // 2)[:, None]
    place_L = torch.arange(length, device=centre_B.device)
    return (place_L >= first_B1) & (place_L < first_B1 + side)
