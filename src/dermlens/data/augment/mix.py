"""Mixup and CutMix: an image of two, whose loss is shared as the pixels are.

Mixup (Zhang et al. 2018, arXiv 1710.09412): x = λ·x_i + (1 − λ)·x_j. CutMix (Yun et al. 2019, arXiv
1905.04899): a box of x_j in x_i at the same place, its sides √(1 − λ) of the image's, its centre uniform and
the box clipped, after which λ is what x_i still has of the pixels. λ is Beta(α, α), for each image anew; the
loss is λ·L(y_i) + (1 − λ)·L(y_j). Sex and site have no mean: the metadata of a mixed image stay those of the
first, x_i.

Shapes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dermlens.data.config import MixConfig


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
