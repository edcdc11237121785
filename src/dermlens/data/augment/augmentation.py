"""All that a recipe's `augment` does to the pixels of a training image by itself, in one pass.

Shapes: B batch, C channels, H height, W width, T steps, K holes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dermlens.data.augment.camera import draw_shots, photographed
from dermlens.data.augment.colour import colour_maps, draw_colours, draw_gains, draw_gamma, recolour
from dermlens.data.augment.cutout import cut_out, draw_holes
from dermlens.data.augment.filters import gamma
from dermlens.data.augment.geometry import draw_maps, view
from dermlens.data.augment.policy import draw_operations, filtered, then_move
from dermlens.data.config import AugmentConfig


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
        drawn = Drawn(*(tensor.to(x_BCHW.device) for tensor in self._draw(len(x_BCHW), generator)))
        if not (self.moves or self.recolours or self.config.cutout or self.config.camera):
            return x_BCHW.float()
        if mask_B is not None and not mask_B.all():
            out_BCHW = x_BCHW.to(torch.float32, copy=True)
            out_BCHW[mask_B] = self._apply(x_BCHW[mask_B], drawn.of(mask_B))
            return out_BCHW
        return self._apply(x_BCHW, drawn)

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
