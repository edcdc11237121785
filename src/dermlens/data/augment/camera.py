"""Another camera: a coarser sensor and a JPEG file, so that sharpness and blocks do not name the source.

It comes first, on the image as it is stored; the view that is taken of it then resamples its blocks, as a
reader's resizing does with those of a real file.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from dermlens.data.config import CameraConfig


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
        quality_B: likewise.

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
            x_13HW[:] = _compressed(x_13HW, quality)
    return out_BCHW


def _resampled(x_13HW: Tensor, share: float) -> Tensor:
    """Down, antialiased, and up again."""
    sides = [max(1, round(share * side)) for side in x_13HW.shape[2:]]
    small = interpolate(x_13HW, size=sides, mode="bilinear", antialias=True)
    return interpolate(small, size=x_13HW.shape[2:], mode="bilinear")


def _compressed(x_13HW: Tensor, quality: int) -> Tensor:
    """To a JPEG file with halved colour resolution, as cameras write it, and back."""
    x_HW3 = np.ascontiguousarray(x_13HW[0].permute(1, 2, 0).cpu().numpy())
    data = simplejpeg.encode_jpeg(x_HW3, quality=quality, colorspace="RGB", colorsubsampling="420")
    decoded_HW3 = simplejpeg.decode_jpeg(data, colorspace="RGB")
    return torch.from_numpy(decoded_HW3).permute(2, 0, 1)[None].to(x_13HW.device)
