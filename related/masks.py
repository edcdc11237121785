"""What a lesion mask can do to an image before it is classified (Mahbod et al. 2020, arXiv 2008.12602).

    tight       cropped to the lesion's bounding box
    dilated     cropped to the box and a margin; the article's width was not found, 15 % of a side is assumed
    background  skin around the lesion set to black
    shape       the mask alone, which tells how much the outline gives away: a control of ours

A fourth channel beside red, green and blue is `with_fourth_channel`, for networks that are trained.

An image whose mask is empty stays whole. Shapes: N images, S their side, T the side that is asked for.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from related.frame import centre_box, frame_box, without_skin

Use = Literal["none", "tight", "dilated", "background", "shape", "frame", "centre", "skin"]
MASKED = ("tight", "dilated", "background", "shape")
"""Uses that look at a mask; `frame`, `centre` and `skin` are those of `related.frame`."""
Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]

MARGIN = 0.15


def masked(x_NSS3: Pixels, mask_NSS: Pixels, use: Use, side: int) -> Pixels:
    """Images of side T, the mask used as asked.

    Args:
        x_NSS3: images.
        mask_NSS: 0 outside to 255 inside.
        use: those of MASKED look at the masks.
        side: T; crops are squashed to it.
    """
    return np.stack([_one(*pair, use, side) for pair in zip(x_NSS3, mask_NSS, strict=True)])


def _one(x_SS3: Pixels, mask_SS: Pixels, use: Use, side: int) -> Pixels:
    inside_SS = mask_SS > 127
    box: Box = (0, 0, len(x_SS3), len(x_SS3))
    if use == "frame":
        box = frame_box(x_SS3) or box
    elif use == "centre":
        box = centre_box(x_SS3)
    elif use == "skin":
        x_SS3 = without_skin(x_SS3)
    elif use != "none" and inside_SS.any():
        if use == "background":
            x_SS3 = np.where(inside_SS[..., None], x_SS3, np.uint8(0))
        elif use == "shape":
            x_SS3 = np.repeat(np.where(inside_SS, np.uint8(255), np.uint8(0))[..., None], 3, axis=2)
        else:
            box = lesion_box(inside_SS, margin=MARGIN if use == "dilated" else 0.0)
    cropped = Image.fromarray(x_SS3).crop(box)  # before the resize, or pixels beyond the edge take part
    return np.asarray(cropped.resize((side, side), Image.Resampling.BILINEAR))


def lesion_box(inside_SS: NDArray[np.bool_], *, margin: float) -> Box:
    """(left, top, right, bottom) around a lesion, right and bottom behind its last pixel.

    Args:
        inside_SS: the mask, not empty.
        margin: added at every edge, as a share of the box's own side there; cut off at the image's border.
    """
    ends = []
    for axis in (0, 1):  # columns, then rows
        there = np.flatnonzero(inside_SS.any(axis=axis))
        first, last = int(there[0]), int(there[-1]) + 1
        more = round(margin * (last - first))
        ends.append((max(0, first - more), min(inside_SS.shape[1 - axis], last + more)))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def with_fourth_channel(first: nn.Conv2d) -> nn.Conv2d:
    """The first convolution of a pretrained network, with one more input channel whose weights are zero.

    The network's answers are the same until training moves them.
    """
    bigger = nn.Conv2d(
        first.in_channels + 1,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type]
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        first.dilation,  # type: ignore[arg-type]
        first.groups,
        first.bias is not None,
    )
    with torch.no_grad():
        bigger.weight.zero_()
        bigger.weight[:, : first.in_channels] = first.weight
        if first.bias is not None and bigger.bias is not None:
            bigger.bias.copy_(first.bias)
    return bigger
