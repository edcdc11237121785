"""Other light and another camera: maps of colours, filters that no such map can be, coarser sensors."""

from __future__ import annotations

import math

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from dermlens.data.config import CameraConfig, ColourConfig

# Each of the five is affine in the red, green and blue of a pixel, so that a row of them is one 3×4 map and
# costs one pass over the pixels. With x a colour, g = (0.2989, 0.587, 0.114), and ḡ the image's mean of g·x:
#
#     brightness  f·x
#     contrast    f·x + (1 − f)·ḡ
#     saturation  f·x + (1 − f)·g·x
#     hue         x turned about the grey axis (1, 1, 1) by 2π·h (Rodrigues' formula)
#     illuminant  x_c·exp(s·cos(φ + 2πc/3)): a gain a channel, their product 1
#     gains       x_c·exp(s_c): a gain a channel, each by itself
#
# Before them comes the one that is not affine, gamma: 255·(x/255)^exp(s).
#
# Sources: brightness, contrast and saturation are torchvision's, of Pillow's `ImageEnhance`. The hue is its
# `adjust_hue` at every third of a turn, and between them keeps the mean of the three where that keeps the
# largest. Gains by channel are von Kries's model of another illuminant; under a display's gamma they stay
# gains, (k·x)^γ = k^γ·x^γ. Galdran et al. 2017 (arXiv 1703.03702) augment skin images by them, theirs being
# drawn from those that shades of gray finds in the data.
#
# Shapes: B batch, H height, W width, N pixels, T steps; 3 is red, green, blue; 6 the settings in the order of
# the list above, the illuminant by s and φ.


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


# What an operation of a policy does to pixels that no affine map of colours can.
#
# Each takes float32 x_B3HW in 0 … 255 and a strength for each image, and keeps to 0 … 255. The first three
# are torchvision's `adjust_sharpness`, `autocontrast` and `adjust_gamma`, for a batch of images that differ
# in strength; the last is its `gaussian_blur`.
#
# Shapes: B batch, H height, W width, K taps.


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
    # to 3σ of the widest for all of them: an image shall not depend on the others of its batch
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


# Another camera: a coarser sensor and a JPEG file, so that sharpness and blocks do not name the source.
#
# It comes first, on the image as it is stored; the view that is taken of it then resamples its blocks, as a
# reader's resizing does with those of a real file.
#
# Shapes: B batch, C channels, H height, W width.


def draw_shots(
    config: CameraConfig | None, batch: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Random resolutions, whose logarithms are uniform, and qualities, uniform.

    Args:
        config: `augment.camera` of a recipe; none draws nothing.
        batch: how many images.
        generator: none takes torch's own, of the CPU.

    Returns:
        share_B, the side that an image is scaled down to as a share of its own, 1 for none; and quality_B,
        int64, of its JPEG file, 0 for none.
    """
    device = torch.device("cpu") if generator is None else generator.device
    if config is None:
        return torch.ones(batch, device=device), torch.zeros(batch, dtype=torch.int64, device=device)
    uniform_B4 = torch.rand(batch, 4, generator=generator, device=device)
    share_B = config.resample ** uniform_B4[:, 0]
    share_B = torch.where(uniform_B4[:, 1] < config.probability, share_B, 1.0)
    low, high = config.quality or (0, 0)
    quality_B = low + ((high - low + 1) * uniform_B4[:, 2]).long().clamp(max=high - low)
    return share_B, torch.where(uniform_B4[:, 3] < config.probability, quality_B, 0)


def photographed(x_BCHW: Tensor, share_B: Tensor, quality_B: Tensor) -> Tensor:
    """Take each image with its camera, one after the other: they differ in size on the way.

    Args:
        x_BCHW: uint8, or float in 0 … 255, which is rounded; any memory format. A lesion mask in a fourth
            channel stays as it is.
        share_B: as `draw_shots` gives it.
        quality_B: as `draw_shots` gives it.

    Returns:
        uint8, of the same shape, in channels-last memory.
    """
    out_BCHW = x_BCHW.round().to(torch.uint8) if x_BCHW.is_floating_point() else x_BCHW
    out_BCHW = out_BCHW.clone(memory_format=torch.channels_last)
    for row, (share, quality) in enumerate(zip(share_B.tolist(), quality_B.tolist(), strict=True)):
        x_13HW = out_BCHW[row : row + 1, :3]
        if share < 1:
            x_13HW[:] = _resampled(x_13HW, share)
        if quality:
            x_13HW[:] = compressed(x_13HW, quality)
    return out_BCHW


def _resampled(x_13HW: Tensor, share: float) -> Tensor:
    """Down, antialiased, and up again."""
    sides = [max(1, round(share * side)) for side in x_13HW.shape[2:]]
    small = interpolate(x_13HW, size=sides, mode="bilinear", antialias=True)
    return interpolate(small, size=x_13HW.shape[2:], mode="bilinear")


def compressed(x_13HW: Tensor, quality: int) -> Tensor:
    """To a JPEG file with halved colour resolution, as cameras write it, and back."""
    x_HW3 = np.ascontiguousarray(x_13HW[0].permute(1, 2, 0).cpu().numpy())
    data = simplejpeg.encode_jpeg(x_HW3, quality=quality, colorspace="RGB", colorsubsampling="420")
    decoded_HW3 = simplejpeg.decode_jpeg(data, colorspace="RGB")
    return torch.from_numpy(decoded_HW3).permute(2, 0, 1)[None].to(x_13HW.device)
