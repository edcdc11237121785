"""What Soft-Attention weighed, drawn over the picture.

Legend: H, W image height and width; K heads; h, w the feature map's.
"""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def attention_map(alpha_Khw: NDArray[np.floating], height: int, width: int) -> NDArray[np.float32]:
    """Attention summed over its heads, enlarged bicubically, stretched to 0 … 1.

    Args:
        alpha_Khw: the maps; each head sums to 1 over its positions.
        height: of the picture in pixels.
        width: likewise.

    Returns:
        (height, width); all zero where the attention is the same everywhere.
    """
    assert alpha_Khw.ndim == 3
    sum_hw: NDArray[np.float32] = np.asarray(alpha_Khw.sum(axis=0), np.float32)
    low, high = float(np.min(sum_hw)), float(np.max(sum_hw))
    if high - low <= 1e-6 * max(abs(high), 1e-12):  # uniform: stretching would draw rounding errors
        return np.zeros((height, width), np.float32)
    stretched = Image.fromarray((sum_hw - low) / (high - low))
    large = stretched.resize((width, height), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(large, np.float32), 0, 1)


def overlay(image_HWC: NDArray[np.uint8], alpha_Khw: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The picture in grey under its attention in colour (magma: light is much, also without colour vision).

    Args:
        image_HWC: RGB, the square that the network saw.
        alpha_Khw: its attention maps.

    Returns:
        RGB of the same size.
    """
    height, width, _ = image_HWC.shape
    heat_HW = attention_map(alpha_Khw, height, width)
    color_HWC = mpl.colormaps["magma"](heat_HW)[..., :3] * 255
    grey_HW1 = np.asarray(Image.fromarray(image_HWC).convert("L"), np.float32)[..., None]
    return (0.5 * grey_HW1 + 0.5 * color_HWC).round().astype(np.uint8)
