"""How the same picture may look at another clinic: field of view, distance, sharpness, light, file.

A picture is varied in one way, which its own pixels choose: the same picture is varied alike each time.

Shapes: B pictures of S × S pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from dermlens.data.augment.colour import compressed


def _round_view(radius: float) -> Callable[[Tensor], Tensor]:
    """Black outside a circle around the middle, whose radius is this share of the side."""

    def shown(x_CSS: Tensor) -> Tensor:
        along_S = torch.arange(x_CSS.shape[1]) - (x_CSS.shape[1] - 1) / 2
        inside_SS = along_S[:, None] ** 2 + along_S**2 <= (radius * x_CSS.shape[1]) ** 2
        return x_CSS * inside_SS

    return shown


def _closer(times: float) -> Callable[[Tensor], Tensor]:
    def shown(x_CSS: Tensor) -> Tensor:
        side = x_CSS.shape[1]
        return _resized(F.center_crop(x_CSS, [round(side / times)]), side)

    return shown


def _coarser(x_CSS: Tensor) -> Tensor:
    side = x_CSS.shape[1]
    return _resized(_resized(x_CSS, side // 2), side)


def _resized(x_CSS: Tensor, side: int) -> Tensor:
    found: Tensor = F.resize(x_CSS, [side, side])
    return found


def _softer(x_CSS: Tensor) -> Tensor:
    sigma = x_CSS.shape[1] / 192
    found: Tensor = F.gaussian_blur(x_CSS, 2 * [2 * math.ceil(2 * sigma) + 1], 2 * [sigma])
    return found


def _grained(x_CSS: Tensor) -> Tensor:
    """Noise of a standard deviation of 6, the same in every picture."""
    noise_CSS = 6 * torch.randn(x_CSS.shape, generator=torch.Generator().manual_seed(0))
    return (x_CSS + noise_CSS).round().clamp(0, 255).to(torch.uint8)


def _warmer(x_CSS: Tensor) -> Tensor:
    gain_C = torch.tensor([1.1, 1.0, 0.75])
    return (x_CSS * gain_C[:, None, None]).round().clamp(0, 255).to(torch.uint8)


def _with_scale(x_CSS: Tensor) -> Tensor:
    """Dark ticks along the lower edge, 30 of them, every fifth longer: a millimetre scale."""
    side, x_CSS = x_CSS.shape[1], x_CSS.clone()
    wide = max(1, side // 200)
    for tick in range(30):
        at, high = round((tick + 0.5) * side / 30), side // (10 if tick % 5 == 0 else 18)
        x_CSS[:, side - side // 20 - high : side - side // 20, at : at + wide] = 20
    return x_CSS


WAYS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "round field of view": _round_view(0.5),
    "small round field of view": _round_view(0.42),
    "turned, corners black": lambda x_CSS: F.rotate(x_CSS, 45),
    "closer": _closer(1.4),
    "twice as close": _closer(2.0),
    "coarser": _coarser,
    "softer": _softer,
    "sharpened": lambda x_CSS: F.adjust_sharpness(x_CSS, 4.0),
    "grained": _grained,
    "darker": lambda x_CSS: F.adjust_brightness(x_CSS, 0.6),
    "brighter": lambda x_CSS: F.adjust_brightness(x_CSS, 1.4),
    "more contrast": lambda x_CSS: F.adjust_contrast(x_CSS, 1.6),
    "warmer": _warmer,
    "with a scale": _with_scale,
    "JPEG of quality 30": lambda x_CSS: compressed(x_CSS[None], 30)[0],
}
"""uint8 (3, S, S) → uint8 (3, S, S), by what is changed."""


def varied(x_BCSS: Tensor) -> Tensor:
    """Each of some pictures in one of `WAYS`.

    Args:
        x_BCSS: RGB pixels, uint8.

    Returns:
        The same shape and type.
    """
    ways = tuple(WAYS.values())
    seen = [ways[int(x_CSS.sum()) % len(ways)](x_CSS) for x_CSS in x_BCSS.cpu()]
    return torch.stack(seen).to(x_BCSS.device)
