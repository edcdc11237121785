"""Other light and another camera: brightness, contrast, saturation, hue and illuminant as one map of colours.

Each of the five is affine in the red, green and blue of a pixel, so that a row of them is one 3×4 map and
costs one pass over the pixels. With x a colour, g = (0.2989, 0.587, 0.114), and ḡ the image's mean of g·x:

    brightness  f·x
    contrast    f·x + (1 − f)·ḡ
    saturation  f·x + (1 − f)·g·x
    hue         x turned about the grey axis (1, 1, 1) by 2π·h (Rodrigues' formula)
    illuminant  x_c·exp(s·cos(φ + 2πc/3)): a gain a channel, their product 1
    gains       x_c·exp(s_c): a gain a channel, each by itself

Before them comes the one that is not affine, gamma: 255·(x/255)^exp(s).

Sources: brightness, contrast and saturation are torchvision's, of Pillow's `ImageEnhance`. The hue is its
`adjust_hue` at every third of a turn, and between them keeps the mean of the three where that keeps the
largest. Gains by channel are von Kries's model of another illuminant; under a display's gamma they stay
gains, (k·x)^γ = k^γ·x^γ. Galdran et al. 2017 (arXiv 1703.03702) augment skin images by them, theirs being
drawn from those that shades of gray finds in the data.

Shapes: B batch, H height, W width, N pixels, T steps; 3 is red, green, blue; 6 the settings in the order of
the list above, the illuminant by s and φ.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dermlens.data.config import ColourConfig

NEUTRAL = (1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
GREY = (0.2989, 0.587, 0.114)


def draw_colours(config: ColourConfig, batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Random settings: each uniform within its limits about neutral, the direction φ over the circle.

    Args:
        config: the limits; where all are 0 nothing is drawn, and T is 0.
        batch: how many.
        generator: none takes torch's own, of the CPU.

    Returns:
        float32 (B, T, 6), T at most 1.
    """
    device = torch.device("cpu") if generator is None else generator.device
    if config.is_affine_neutral:
        return torch.empty(batch, 0, 6, device=device)
    uniform_B16 = 2 * torch.rand(batch, 1, 6, generator=generator, device=device) - 1
    limits = [config.brightness, config.contrast, config.saturation, config.hue, config.illuminant, math.pi]
    return torch.tensor(NEUTRAL, device=device) + torch.tensor(limits, device=device) * uniform_B16


def draw_gains(config: ColourConfig, batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Random gains of the channels: their logarithms uniform within the limit, each by itself.

    Returns:
        float32 (B, 3); ones, and nothing drawn, where the limit is 0.
    """
    device = torch.device("cpu") if generator is None else generator.device
    if not config.gains:
        return torch.ones(batch, 3, device=device)
    return (config.gains * (2 * torch.rand(batch, 3, generator=generator, device=device) - 1)).exp()


def draw_gamma(config: ColourConfig, batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Random strengths for `filters.gamma`, (B,), uniform; zeros, and nothing drawn, where the limit is 0."""
    device = torch.device("cpu") if generator is None else generator.device
    if not config.gamma:
        return torch.zeros(batch, device=device)
    return config.gamma * (2 * torch.rand(batch, generator=generator, device=device) - 1)


def colour_maps(settings_BT6: Tensor) -> Tensor:
    """Steps one after the other, each in the order of the list above, as one map.

    Args:
        settings_BT6: as `draw_colours` gives them.

    Returns:
        float32 (B, 3, 6) on (x, x̄), a pixel's colour and the mean colour of its image, of which ḡ is made: no
        pixels are needed yet.
    """
    batch, device = len(settings_BT6), settings_BT6.device
    one_33, grey_3 = torch.eye(3, device=device), torch.tensor(GREY, device=device)
    third_3 = torch.arange(3, device=device) * (2 * math.pi / 3)
    map_B36 = torch.eye(3, 6, device=device).repeat(batch, 1, 1)
    for settings_B6 in settings_BT6.unbind(1):
        brightness, contrast, saturation, hue, strength, angle = settings_B6[:, None, :, None].unbind(2)
        map_B36 = brightness * map_B36
        # the image's mean goes by the same map as its pixels
        grey_B13 = grey_3 @ (map_B36[:, :, :3] + map_B36[:, :, 3:])
        map_B36 = contrast * map_B36
        map_B36[:, :, 3:] += (1 - contrast) * grey_B13[:, None]
        saturate_B33 = saturation * one_33 + (1 - saturation) * grey_3
        gain_B31 = (strength * (angle + third_3[:, None]).cos()).exp()
        map_B36 = gain_B31 * (_turn(hue) @ saturate_B33 @ map_B36)
    return map_B36


def recolour(x_B3HW: Tensor, map_B36: Tensor) -> Tensor:
    """Map every pixel and hold it to 0 … 255: once, at the end; torchvision does so at each step.

    Args:
        x_B3HW: float32 in 0 … 255, contiguous.
        map_B36: as `colour_maps` gives it.

    Returns:
        Likewise.
    """
    x_B3N = x_B3HW.flatten(2)
    offset_B31 = map_B36[:, :, 3:] @ x_B3N.mean(2, keepdim=True)
    return torch.baddbmm(offset_B31, map_B36[:, :, :3], x_B3N).clamp_(0, 255).view_as(x_B3HW)


def _turn(hue_B11: Tensor) -> Tensor:
    """Rotations about the grey axis, red towards green, in turns."""
    angle_B11, device = 2 * math.pi * hue_B11, hue_B11.device
    axis_33 = torch.full((3, 3), 1 / 3, device=device)
    cross_33 = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=device) / math.sqrt(3)
    return axis_33 + angle_B11.cos() * (torch.eye(3, device=device) - axis_33) + angle_B11.sin() * cross_33
