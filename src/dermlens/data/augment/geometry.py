"""Random views of a batch, squares cut out of it, and images of two."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from dermlens.data.config import AugmentConfig, CutOutConfig, MixConfig

# Shapes: B batch, C channels, H height, W width. Source: the paper's generator, in the authors' notebook Data
# Augmentation, which is Keras's `ImageDataGenerator`: turn, shift, zoom (each axis by its own factor), then
# flips; beyond the edge the nearest pixel goes on.


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


# CutOut: square holes at random places (DeVries & Taylor 2017, arXiv 1708.04552).
#
# As there, a hole's centre is uniform over the image and the hole is clipped at its border. A hole is filled
# with the mean colour of its image, where the authors, after normalising, took the mean of the data: so the
# mean of the image, and with it what a network can guess of its skin, stays as it was.
#
# Shapes: B batch, H height, W width, K holes.


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


# Mixup and CutMix: an image of two, whose loss is shared as the pixels are.
#
# Mixup (Zhang et al. 2018, arXiv 1710.09412): x = λ·x_i + (1 − λ)·x_j. CutMix (Yun et al. 2019, arXiv
# 1905.04899): a box of x_j in x_i at the same place, its sides √(1 − λ) of the image's, its centre uniform
# and the box clipped, after which λ is what x_i still has of the pixels. λ is Beta(α, α), for each image
# anew; the loss is λ·L(y_i) + (1 − λ)·L(y_j). Sex and site have no mean: the metadata of a mixed image stay
# those of the first, x_i.
#
# Shapes: B batch, C channels, H height, W width.


def mix(
    config: MixConfig, x_BCHW: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each image of a batch, with the recipe's probability, with another of it.

    The draws depend on the generator and on the length of the batch alone.

    Args:
        config: `augment.mix` of a recipe.
        x_BCHW: float, any memory format.
        generator: none takes torch's own, of the CPU.

    Returns:
        x_BCHW mixed, in the same memory format; partner_B, int64, the place of the other image, a permutation
        of the batch; share_B, float32, λ: what an image has of its own, 1 where it was not mixed.
    """
    batch, device = len(x_BCHW), x_BCHW.device
    draws = torch.device("cpu") if generator is None else generator.device
    partner_B = torch.randperm(batch, generator=generator, device=draws).to(device)
    uniform_B3 = torch.rand(batch, 3, generator=generator, device=draws).to(device)
    # torch's own Beta takes no generator; NumPy's goes on from a seed drawn from ours
    seed = int(torch.randint(2**62, (), generator=generator, device=draws))
    drawn_B = np.random.default_rng(seed).beta(config.alpha, config.alpha, batch)
    share_B = torch.from_numpy(drawn_B).float().to(device)
    share_B = torch.where(uniform_B3[:, 0] < config.probability, share_B, 1)
    if config.kind == "mixup":
        share_B111 = share_B[:, None, None, None]
        return torch.lerp(x_BCHW[partner_B], x_BCHW, share_B111), partner_B, share_B
    box_BHW = _boxes(share_B, uniform_B3[:, 1:], *x_BCHW.shape[2:])
    mixed_BCHW = torch.where(box_BHW[:, None], x_BCHW[partner_B], x_BCHW)
    return mixed_BCHW, partner_B, 1 - box_BHW.float().mean((1, 2))


def _boxes(share_B: Tensor, centre_B2: Tensor, height: int, width: int) -> Tensor:
    """Which pixels are the other image's; a centre is (row, column) in shares."""
    inside = []
    for centre_B, length in zip(centre_B2.unbind(1), (height, width), strict=True):
        side_B1 = (length * (1 - share_B).sqrt())[:, None].round().long()
        first_B1 = (centre_B * length).long()[:, None] - side_B1 // 2
        place_L = torch.arange(length, device=share_B.device)
        inside.append((place_L >= first_B1) & (place_L < first_B1 + side_B1))
    return inside[0][:, :, None] & inside[1][:, None, :]
