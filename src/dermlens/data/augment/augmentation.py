"""All that a recipe's `augment` does to training images and their metadata."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dermlens.data.augment.colour import (
    NEUTRAL,
    WIDEST_BLUR,
    autocontrast,
    blur,
    colour_maps,
    draw_colours,
    draw_gains,
    draw_gamma,
    draw_shots,
    gamma,
    photographed,
    recolour,
    sharpen,
)
from dermlens.data.augment.geometry import cut_out, draw_holes, draw_maps, view
from dermlens.data.config import AugmentConfig, MetadataDropoutConfig, PolicyConfig, RandAugmentConfig
from dermlens.errors import UserError
from dermlens.predict.metadata import MetadataEncoder

# RandAugment and TrivialAugment over a pool of operations that fits dermoscopy.
#
# RandAugment (Cubuk et al. 2020, arXiv 1909.13719): n operations an image, drawn with replacement, all at one
# magnitude m. TrivialAugment (Müller & Hutter 2021, arXiv 2103.10158): one operation an image, its magnitude
# uniform in 0 … 1. In both every operation is as likely as any other, and goes to either side where it has
# two.
#
# The pool leaves out what turns colours round or levels them (invert, solarise, posterise, equalise) and the
# hue: dark on light, and whether that dark is brown, blue or black, is what a dermatoscope shows. Brightness,
# contrast and saturation go half as far as in the papers, for the same reason. Rotation goes all the way, as
# a lesion has no upright side.
#
# In place of the drawn order, an image is first moved by all its geometric operations, with its view as one
# map, so that it is interpolated once; then by those of colour as one map; then filtered. Each of the three
# keeps its drawn order.
#
# Shapes: B batch, T operations an image.


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


# Shapes: B batch, C channels, H height, W width, T steps, K holes.


class Drawn(NamedTuple):
    """What is to be done to each image; T and K are 0 where a recipe asks for nothing of the kind."""

    matrix_B23: Tensor
    colour_B36: Tensor
    filters_BT: Tensor
    strength_BT: Tensor
    centre_BK2: Tensor
    gamma_B: Tensor
    share_B: Tensor
    quality_B: Tensor

    def of(self, rows: slice | Tensor) -> Drawn:
        """What is to be done to some of the images."""
        return Drawn(*(tensor[rows] for tensor in self))


class Augmentation:
    """Draws a view of each image of a batch, its colours, the operations of a policy, and holes.

    Args:
        config: how far they may depart from the image.
    """

    def __init__(self, config: AugmentConfig):
        self.config = config
        self.moves = not config.stays_in_place or config.policy is not None
        self.recolours = not config.colour.is_neutral or config.policy is not None
        self.bends = bool(config.colour.gamma)
        self.plugins = [(one.kind, *one.resolve()) for one in config.plugins]

    def __call__(
        self, x_BCHW: Tensor, generator: torch.Generator | None = None, mask_B: Tensor | None = None
    ) -> Tensor:
        """Replace each image by a random view of itself.

        The draws depend on the generator and on the place in the batch alone: not on pixels or mask.
        A lesion mask moves with its image if it is passed as a fourth channel, and its values stay.

        Args:
            x_BCHW: uint8 or float in 0 … 255, any memory format.
            generator: none takes torch's own, of the CPU.
            mask_B: bool, which images to augment; the others pass unchanged. None takes all.

        Returns:
            float32 in 0 … 255, same shape and memory format.
        """
        out_BCHW = self._own(x_BCHW, generator, mask_B)
        return self._outside(out_BCHW, generator, mask_B) if self.plugins else out_BCHW

    def _own(self, x_BCHW: Tensor, generator: torch.Generator | None, mask_B: Tensor | None) -> Tensor:
        drawn = Drawn(*(tensor.to(x_BCHW.device) for tensor in self._draw(len(x_BCHW), generator)))
        if not (self.moves or self.recolours or self.config.cutout or self.config.camera):
            return x_BCHW.float()
        if mask_B is not None and not mask_B.all():
            out_BCHW = x_BCHW.to(torch.float32, copy=True)
            out_BCHW[mask_B] = self._apply(x_BCHW[mask_B], drawn.of(mask_B))
            return out_BCHW
        return self._apply(x_BCHW, drawn)

    def _outside(self, x_BCHW: Tensor, generator: torch.Generator | None, mask_B: Tensor | None) -> Tensor:
        """What the plugins make of the images, all of them, so that draws do not depend on the mask."""
        made_BCHW = x_BCHW
        for kind, found, settings in self.plugins:
            made_BCHW = found.function(made_BCHW.clone(), generator, **settings)
            if made_BCHW.shape != x_BCHW.shape or made_BCHW.dtype != x_BCHW.dtype:
                raise UserError(
                    f"augment.plugins {kind} made {made_BCHW.dtype} of shape {tuple(made_BCHW.shape)} of"
                    f" {x_BCHW.dtype} of shape {tuple(x_BCHW.shape)}; both must stay"
                )
        return made_BCHW if mask_B is None else torch.where(mask_B[:, None, None, None], made_BCHW, x_BCHW)

    def _draw(self, batch: int, generator: torch.Generator | None) -> Drawn:
        """Only what is asked for, the views first: a recipe without the rest draws as it always did."""
        c = self.config
        matrix_B23 = draw_maps(c, batch, generator)
        colours_BT6 = draw_colours(c.colour, batch, generator)
        moves_BT23, policy_BT6, filters_BT, strength_BT = draw_operations(c.policy, batch, generator)
        centre_BK2 = draw_holes(c.cutout, batch, generator)
        gain_B3 = draw_gains(c.colour, batch, generator)
        return Drawn(
            then_move(matrix_B23, moves_BT23),
            gain_B3[:, :, None] * colour_maps(torch.cat([colours_BT6, policy_BT6], dim=1)),
            filters_BT,
            strength_BT,
            centre_BK2,
            draw_gamma(c.colour, batch, generator),
            *draw_shots(c.camera, batch, generator),
        )

    def _apply(self, x_BCHW: Tensor, drawn: Drawn) -> Tensor:
        if self.config.camera is not None:
            x_BCHW = photographed(x_BCHW, drawn.share_B, drawn.quality_B)
        out_BCHW = torch.empty_like(x_BCHW, dtype=torch.float32)
        # A few images at a time stay in a CPU's cache, which halves the time; a GPU takes them all at once.
        step = 4 if x_BCHW.device.type == "cpu" else len(x_BCHW)
        for start in range(0, len(x_BCHW), step):
            part = slice(start, start + step)
            planes_BCHW = x_BCHW[part].to(torch.float32, memory_format=torch.contiguous_format)
            out_BCHW[part] = self._augmented(planes_BCHW, drawn.of(part))
        return out_BCHW

    def _augmented(self, x_BCHW: Tensor, drawn: Drawn) -> Tensor:
        if self.moves:
            x_BCHW = view(x_BCHW, drawn.matrix_B23)
        x_B3HW = x_BCHW[:, :3]
        if self.bends:
            x_B3HW = gamma(x_B3HW, drawn.gamma_B)
        if self.recolours:
            x_B3HW = recolour(x_B3HW, drawn.colour_B36)
        x_B3HW = filtered(x_B3HW, drawn.filters_BT, drawn.strength_BT)
        if self.config.cutout is not None:
            x_B3HW = cut_out(x_B3HW, drawn.centre_BK2, self.config.cutout.side)
        return x_B3HW if x_BCHW.shape[1] <= 3 else torch.cat([x_B3HW, x_BCHW[:, 3:]], dim=1)


# Metadata that go missing at random, so that a network learns to do without.
#
# In HAM10000 a missing age says something of the class: 45 of 57 are nevi. Here each patient's metadata, and
# each field by itself, is replaced by the encoding of a missing value, whatever the class: that it is missing
# comes to say next to nothing. Gessert et al. 2020 (MethodsX 7:100864) blank each field with probability 0.1.
#
# Shapes: B batch, M features, F fields.


class MetadataDropout:
    """Blanks metadata of a batch.

    Args:
        config: `augment.metadata_dropout` of a recipe.
        encoder: fitted; its encoding of a patient of whom nothing is known is what is put in.
        sources: names of the sources, in the order of `source_B`.
    """

    def __init__(self, config: MetadataDropoutConfig, encoder: MetadataEncoder, sources: Sequence[str]):
        own = [config.by_source.get(name, config) for name in sources]
        self.all_S, self.each_S = (
            torch.tensor([getattr(one, key) for one in own]) for key in ("all", "each")
        )
        self.missing_M = torch.from_numpy(encoder.missing)
        self.field_FM = torch.zeros(len(encoder.fields), encoder.width, dtype=torch.bool)
        for row, columns in enumerate(encoder.fields.values()):
            self.field_FM[row, columns] = True

    def __call__(self, meta_BM: Tensor, source_B: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Replace whole rows, and single fields of the others, by the encoding of missing values.

        Args:
            meta_BM: as the encoder makes it.
            source_B: places in `sources`.
            generator: none takes torch's own, of the CPU; draws depend on it and on the place in the batch.

        Returns:
            A new tensor.
        """
        fields = len(self.field_FM)
        device = torch.device("cpu") if generator is None else generator.device
        uniform_BF1 = torch.rand(len(meta_BM), fields + 1, generator=generator, device=device)
        all_B, each_B = (rate_S.to(device)[source_B.to(device)] for rate_S in (self.all_S, self.each_S))
        gone_BF = (uniform_BF1[:, :fields] < each_B[:, None]) | (uniform_BF1[:, fields:] < all_B[:, None])
        gone_BM = (gone_BF[:, :, None] & self.field_FM.to(device)).any(1).to(meta_BM.device)
        return torch.where(gone_BM, self.missing_M.to(meta_BM), meta_BM)
