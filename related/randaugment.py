"""The modified RandAugment of Yao et al. 2022 (arXiv 2102.01284, [12]): first colours change, then shape.

Each image gets one of twelve operations on colour with probability P, and then one of eight on shape with
probability P, each as likely as the others; a strength is uniform from 0 to M/10 of the largest, and of
either sign where there are two. Their thirteenth operation on colour blends another image in: an image's view
would depend on its batch, which nothing under `augment` may; it is left out. How strong their lens distortion
is was not found: at most `LENS` is assumed. Beyond the edge the nearest pixel goes on, where theirs is black.

Shapes: B batch, H × W positions. Values are 0 … 255.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample
from torchvision.transforms.v2 import functional as tv

from dermlens.data.augment.geometry import view
from dermlens.documents import Section
from dermlens.plugins import plugin

LENS = 0.3
"""Largest k of r·(1 + k·r²), r being 1 at the middle of an edge."""
Operation = Callable[[Tensor, float, Tensor], Tensor]
"""(x_13HW, strength of −1 to 1, three further uniform numbers) → x_13HW."""


def _vignette(x: Tensor, s: float, extra: Tensor) -> Tensor:
    del extra
    y_H, x_W = (torch.linspace(-1, 1, side, device=x.device) for side in x.shape[2:])
    return x * (1 - 0.6 * abs(s) * (y_H[:, None] ** 2 + x_W**2) / 2)


def _noise(x: Tensor, s: float, extra: Tensor) -> Tensor:
    own = torch.Generator().manual_seed(int(extra[0] * 2**31))
    noise = torch.randn(x.shape, generator=own).to(x.device)
    return (x + 50 * 0.2 * abs(s) * noise).clamp(0, 255)


def _enhanced(adjust: Callable[[Tensor, float], Tensor]) -> Operation:
    """One of torchvision's, which take a factor and values of 0 to 1."""
    return lambda x, s, _: 255 * adjust(x / 255, 1 + 0.4 * s)


def _cast(x: Tensor, s: float, extra: Tensor) -> Tensor:
    shift_3 = 30 * abs(s) * (2 * extra - 1)
    return (x + shift_3.to(x.device).view(1, 3, 1, 1)).clamp(0, 255)


def _equalised(x: Tensor, s: float, extra: Tensor) -> Tensor:
    del s, extra
    made: Tensor = tv.equalize_image(x.round().to(torch.uint8)).float()
    return made


def _equalised_luminance(x: Tensor, s: float, extra: Tensor) -> Tensor:
    grey = tv.rgb_to_grayscale(x)
    made: Tensor = (x + _equalised(grey, s, extra) - grey).clamp(0, 255)
    return made


def _posterised(x: Tensor, s: float, extra: Tensor) -> Tensor:
    del extra
    made: Tensor = tv.posterize_image(x.round().to(torch.uint8), 8 - round(3 * abs(s))).float()
    return made


def _stretched(x: Tensor, s: float, extra: Tensor) -> Tensor:
    del s, extra
    made: Tensor = 255 * tv.autocontrast_image(x / 255)
    return made


def _solarised(x: Tensor, s: float, extra: Tensor) -> Tensor:
    del extra
    return torch.where(x >= 255 - 127 * abs(s), 255 - x, x)


COLOURS: dict[str, Operation] = {
    "vignette": _vignette,
    "noise": _noise,
    "saturation": _enhanced(tv.adjust_saturation_image),
    "contrast": _enhanced(tv.adjust_contrast_image),
    "brightness": _enhanced(tv.adjust_brightness_image),
    "sharpness": _enhanced(tv.adjust_sharpness_image),
    "cast": _cast,
    "equalise": _equalised,
    "equalise luminance": _equalised_luminance,
    "posterise": _posterised,
    "autocontrast": _stretched,
    "solarise": _solarised,
}


def _affine(matrix: Callable[[float], list[list[float]]]) -> Operation:
    """A look into the image at matrix·(x, y), from the centre."""

    def moved(x: Tensor, s: float, extra: Tensor) -> Tensor:
        del extra
        linear_22 = torch.tensor(matrix(s), dtype=x.dtype, device=x.device)
        return view(x.contiguous(), torch.cat([linear_22, linear_22.new_zeros(2, 1)], dim=1)[None])

    return moved


def _turn(s: float) -> list[list[float]]:
    angle = math.radians(40 * s)
    return [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]


def _lens(x: Tensor, s: float, extra: Tensor) -> Tensor:
    del extra
    y_H, x_W = ((2 * torch.arange(side, device=x.device) + 1) / side - 1 for side in x.shape[2:])
    factor_HW = 1 + LENS * s * (y_H[:, None] ** 2 + x_W**2)
    grid_HW2 = torch.stack([x_W * factor_HW, y_H[:, None] * factor_HW], dim=-1)
    return grid_sample(x, grid_HW2[None], padding_mode="border", align_corners=False)


def _flip(x: Tensor, s: float, extra: Tensor) -> Tensor:
    del s
    return x.flip(3 if extra[0] < 0.5 else 2)


def _hole(x: Tensor, s: float, extra: Tensor) -> Tensor:
    """A black square around a uniform centre; half of its side is at most 50 of 224 pixels."""
    height, width = x.shape[2:]
    half = round(50 / 224 * abs(s) * min(height, width))
    row, column = int(extra[0] * height), int(extra[1] * width)
    made = x.clone()
    made[:, :, max(0, row - half) : row + half, max(0, column - half) : column + half] = 0
    return made


SHAPES: dict[str, Operation] = {
    "rotate": _affine(_turn),
    "lens": _lens,
    "flip": _flip,
    "cutout": _hole,
    "shear x": _affine(lambda s: [[1, math.tan(math.radians(15 * s))], [0, 1]]),
    "shear y": _affine(lambda s: [[1, 0], [math.tan(math.radians(15 * s)), 1]]),
    "scale": _affine(lambda s: [[1 + 0.2 * s, 0], [0, 1 + 0.2 * s]]),
    "scale x": _affine(lambda s: [[1 + 0.2 * s, 0], [0, 1]]),
}


class ModifiedRandAugmentConfig(Section):
    """Attributes:
    probability: P, of each of the two changes.
    magnitude: M, of 10.
    """

    probability: Annotated[float, Field(ge=0, le=1)] = 0.7
    magnitude: Annotated[float, Field(ge=0, le=10)] = 10.0


@plugin("augmentation", ModifiedRandAugmentConfig)
def modified_randaugment(
    x_BCHW: Tensor, generator: torch.Generator | None, *, probability: float, magnitude: float
) -> Tensor:
    """For `augment.plugins`: float32 of 0 to 255, as it came in."""
    device = torch.device("cpu") if generator is None else generator.device
    uniform_B27 = torch.rand(len(x_BCHW), 2, 7, generator=generator, device=device).cpu()
    rows = []
    for x_3HW, uniform_27 in zip(x_BCHW.contiguous(), uniform_B27, strict=True):
        x_13HW = x_3HW[None]
        for operations, uniform_7 in zip((COLOURS, SHAPES), uniform_27, strict=True):
            happens, which, strength, sign = uniform_7[:4].tolist()
            if happens < probability:
                operation = list(operations.values())[int(which * len(operations))]
                strength *= magnitude / 10 * (1 if sign < 0.5 else -1)
                x_13HW = operation(x_13HW, strength, uniform_7[4:])
        rows.append(x_13HW)
    return torch.cat(rows).contiguous(memory_format=torch.channels_last)
