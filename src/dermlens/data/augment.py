"""Random views of a batch: one affine map an image, one sampling for all of them.

Shapes: B batch, C channels, H height, W width. Source: the paper's generator, P§1.7, which is Keras's
`ImageDataGenerator`: turn, shift, zoom (each axis by its own factor), then flips; beyond the edge the nearest
pixel goes on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from dermlens.data.config import AugmentConfig


class Augmentation:
    """Draws a view of each image of a batch.

    Args:
        config: how far views may depart from the image.
    """

    def __init__(self, config: AugmentConfig):
        self.config = config

    def __call__(
        self, x_BCHW: Tensor, generator: torch.Generator | None = None, mask_B: Tensor | None = None
    ) -> Tensor:
        """Replace each image by a random view of itself.

        The draws depend on the generator and on the place in the batch alone: not on pixels or mask.
        A lesion mask turns with its image if it is passed as one more channel.

        Args:
            x_BCHW: uint8 or float in 0 … 255, any memory format.
            generator: none takes torch's own, of the CPU.
            mask_B: bool, which images to augment; the others pass unchanged. None takes all.

        Returns:
            float32 in 0 … 255, same shape and memory format.
        """
        matrix_B23 = self.draw(len(x_BCHW), generator).to(x_BCHW.device)
        if self.config.is_identity:
            return x_BCHW.float()
        if mask_B is not None and not mask_B.all():
            out_BCHW = x_BCHW.to(torch.float32, copy=True)
            out_BCHW[mask_B] = _sample(x_BCHW[mask_B], matrix_B23[mask_B])
            return out_BCHW
        return _sample(x_BCHW, matrix_B23)

    def draw(self, batch: int, generator: torch.Generator | None = None) -> Tensor:
        """Random maps from a place in the view to a place in the image.

        Args:
            batch: how many.
            generator: none takes torch's own, of the CPU.

        Returns:
            float32 (B, 2, 3) on (x, y, 1), from the centre and in half sides: −1 … 1 spans it. Meant for
            squares, as the cache holds them; on other shapes a turn would shear.
        """
        c = self.config
        device = torch.device("cpu") if generator is None else generator.device
        uniform_B5 = 2 * torch.rand(batch, 5, generator=generator, device=device) - 1
        flip_B2 = torch.rand(batch, 2, generator=generator, device=device) < 0.5
        angle_B = math.radians(c.rotation) * uniform_B5[:, 0]
        shift_B2 = 2 * c.shift * uniform_B5[:, 1:3]  # the side is two half sides
        scale_B2 = 1 + c.zoom * uniform_B5[:, 3:5]
        scale_B2[flip_B2 & torch.tensor([c.horizontal_flip, c.vertical_flip], device=device)] *= -1
        cos_B, sin_B = angle_B.cos(), angle_B.sin()
        turn_B22 = torch.stack([cos_B, -sin_B, sin_B, cos_B], dim=1).view(-1, 2, 2)
        return turn_B22 @ torch.cat([torch.diag_embed(scale_B2), shift_B2[..., None]], dim=2)


def _sample(x_BCHW: Tensor, matrix_B23: Tensor) -> Tensor:
    """Look up each view's pixels in its image, bilinearly; float32, memory format kept."""
    view_BCHW = torch.empty_like(x_BCHW, dtype=torch.float32)
    # A few images at a time stay in a CPU's cache, which halves the time; a GPU takes them all at once.
    step = 4 if x_BCHW.device.type == "cpu" else len(x_BCHW)
    for start in range(0, len(x_BCHW), step):
        part = slice(start, start + step)
        # The sampler is fastest on planes, even counting the way there and back.
        planes_BCHW = x_BCHW[part].to(torch.float32, memory_format=torch.contiguous_format)
        grid_BHW2 = _grid(matrix_B23[part], *x_BCHW.shape[2:])
        view_BCHW[part] = grid_sample(planes_BCHW, grid_BHW2, padding_mode="border", align_corners=False)
    return view_BCHW


def _grid(matrix_B23: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel of the views lies in its image; `affine_grid` gives the same in ten times the time."""
    x_W = (2 * torch.arange(width, device=matrix_B23.device) + 1) / width - 1
    y_H = (2 * torch.arange(height, device=matrix_B23.device) + 1) / height - 1
    grid_BHW2 = torch.empty(len(matrix_B23), height, width, 2, device=matrix_B23.device)
    for axis in (0, 1):
        by_x, by_y, offset = matrix_B23[:, axis, :, None].unbind(1)
        torch.add((by_x * x_W)[:, None, :], (by_y * y_H + offset)[:, :, None], out=grid_BHW2[..., axis])
    return grid_BHW2
