"""RandAugment and TrivialAugment over a pool of operations that fits dermoscopy.

RandAugment (Cubuk et al. 2020, arXiv 1909.13719): n operations an image, drawn with replacement, all at one
magnitude m. TrivialAugment (Müller & Hutter 2021, arXiv 2103.10158): one operation an image, its magnitude
uniform in 0 … 1. In both every operation is as likely as any other, and goes to either side where it has two.

The pool leaves out what turns colours round or levels them (invert, solarise, posterise, equalise) and the
hue: dark on light, and whether that dark is brown, blue or black, is what a dermatoscope shows. Brightness,
contrast and saturation go half as far as in the papers, for the same reason. Rotation goes all the way, as a
lesion has no upright side.

In place of the drawn order, an image is first moved by all its geometric operations, with its view as one
map, so that it is interpolated once; then by those of colour as one map; then filtered. Each of the three
keeps its drawn order.

Shapes: B batch, T operations an image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from dermlens.data.augment.colour import NEUTRAL
from dermlens.data.augment.filters import WIDEST_BLUR, autocontrast, blur, gamma, sharpen
from dermlens.data.config import PolicyConfig, RandAugmentConfig

# largest strength, at magnitude 1; column of the settings
MOVES = {
    "rotate": (math.pi, 0),
    "shear_x": (0.3, 1),
    "shear_y": (0.3, 2),
    "translate_x": (0.6, 3),  # half sides
    "translate_y": (0.6, 4),
    "zoom": (0.4, 5),  # logarithm of the scale
}
COLOURS = {
    "brightness": (0.45, 0),
    "contrast": (0.45, 1),
    "saturation": (0.45, 2),
    "illuminant": (0.25, 4),  # logarithm of a channel's gain
}
# largest strength; whether it goes to either side; how
FILTERS = {
    "sharpness": (0.9, True, sharpen),
    "autocontrast": (1.0, False, autocontrast),
    "gamma": (0.5, True, gamma),
    "blur": (WIDEST_BLUR, False, blur),  # σ, of the width
}
POOL = ("identity", *MOVES, *COLOURS, *FILTERS)


class Operations(NamedTuple):
    """What was drawn, as it is applied: neutral where an operation is of another kind.

    Attributes:
        moves_BT23: maps as `dermlens.data.augment.geometry` has them.
        colours_BT6: settings as `dermlens.data.augment.colour` has them.
        filters_BT: place in POOL.
        strength_BT: of the filters.
    """

    moves_BT23: Tensor
    colours_BT6: Tensor
    filters_BT: Tensor
    strength_BT: Tensor


def draw_operations(
    config: PolicyConfig | None, batch: int, generator: torch.Generator | None = None
) -> Operations:
    """Random operations for each image of a batch.

    Args:
        config: `augment.policy` of a recipe; none draws nothing, and T is 0.
        batch: how many.
        generator: none takes torch's own, of the CPU.
    """
    steps = 0 if config is None else config.operations if isinstance(config, RandAugmentConfig) else 1
    device = torch.device("cpu") if generator is None else generator.device
    if not steps:
        uniform_BT4 = torch.empty(batch, 0, 4, device=device)
    else:
        uniform_BT4 = torch.rand(batch, steps, 4, generator=generator, device=device)
    which_BT = (uniform_BT4[..., 0] * len(POOL)).long().clamp_(max=len(POOL) - 1)
    magnitude_BT = uniform_BT4[..., 1]
    if isinstance(config, RandAugmentConfig):
        magnitude_BT = torch.full_like(magnitude_BT, config.magnitude)
    return operations(which_BT, magnitude_BT, uniform_BT4[..., 2] < 0.5, 2 * math.pi * uniform_BT4[..., 3])


def operations(which_BT: Tensor, magnitude_BT: Tensor, turned_BT: Tensor, angle_BT: Tensor) -> Operations:
    """Operations at given settings.

    Args:
        which_BT: int64, places in POOL.
        magnitude_BT: shares of the largest strength, 0 … 1.
        turned_BT: bool, which go to the other side.
        angle_BT: direction of the illuminant, radians.
    """
    signed_BT = torch.where(turned_BT, -magnitude_BT, magnitude_BT)

    def settings(rows: dict[str, tuple[float, int]]) -> Tensor:
        added_BT6 = torch.zeros(*which_BT.shape, 6, device=which_BT.device)
        for name, (largest, column) in rows.items():
            added_BT6[..., column] = torch.where(which_BT == POOL.index(name), largest * signed_BT, 0)
        return added_BT6

    strength_BT = torch.zeros_like(magnitude_BT)
    for name, (largest, both_sides, _) in FILTERS.items():
        here_BT = largest * (signed_BT if both_sides else magnitude_BT)
        strength_BT = torch.where(which_BT == POOL.index(name), here_BT, strength_BT)
    colours_BT6 = settings(COLOURS) + torch.tensor(NEUTRAL, device=which_BT.device)
    colours_BT6[..., 5] = angle_BT
    return Operations(_maps(settings(MOVES)), colours_BT6, which_BT, strength_BT)


def then_move(matrix_B23: Tensor, moves_BT23: Tensor) -> Tensor:
    """The map of a view that is moved again, step by step: each looks into what the one before has made."""
    for move_B23 in moves_BT23.unbind(1):
        turn_B22, shift_B21 = matrix_B23[:, :, :2], matrix_B23[:, :, 2:]
        linear_B22, offset_B21 = move_B23[:, :, :2], move_B23[:, :, 2:]
        matrix_B23 = torch.cat([turn_B22 @ linear_B22, turn_B22 @ offset_B21 + shift_B21], dim=2)
    return matrix_B23


def filtered(x_B3HW: Tensor, filters_BT: Tensor, strength_BT: Tensor) -> Tensor:
    """Filter images grouped by operation, step by step.

    Args:
        x_B3HW: float32 in 0 … 255; written over.
        filters_BT: places in POOL; those of other operations do nothing.
        strength_BT: as `operations` gives them.
    """
    for which_B, strength_B in zip(filters_BT.unbind(1), strength_BT.unbind(1), strict=True):
        for name, (_, _, function) in FILTERS.items():
            rows = (which_B == POOL.index(name)).nonzero()[:, 0]
            if len(rows):
                x_B3HW[rows] = function(x_B3HW[rows], strength_B[rows])
    return x_B3HW


def _maps(settings_BT6: Tensor) -> Tensor:
    """Maps of steps of which each does one thing: the columns are those of MOVES."""
    angle, shear_x, shear_y, x, y, zoom = settings_BT6.unbind(-1)
    along, sin = zoom.exp() * angle.cos(), angle.sin()
    rows = [torch.stack(row, dim=-1) for row in ((along, shear_x - sin, x), (shear_y + sin, along, y))]
    return torch.stack(rows, dim=-2)
