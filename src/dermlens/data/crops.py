"""From an image of any size to the network's square.

Shapes: H height, W width, C channels (3; a mask has none), S side of the square.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from dermlens.data.colour_constancy import ColourConstancy, constant_colours
from dermlens.data.images import read_image

Crop = Literal["center", "squash"]


def read_square(
    source: Path | bytes, size: int, crop: Crop, colour_constancy: ColourConstancy = "none"
) -> np.ndarray:
    """Decode, crop, resize, balance the colours: the whole way from a file to what the network sees.

    JPEGs are decoded at the smallest scale that still has `size` pixels on the short side. Training and
    prediction share that choice, as it changes pixels a little: docs/results/cache_build.md says how much.

    Args:
        source: a file, or its bytes.
        size: side of the square in pixels.
        crop: `center` or `squash`.
        colour_constancy: `none` or `shades_of_gray`.

    Returns:
        uint8 (S, S, 3).

    Raises:
        ImageError: as `read_image` says.
    """
    return constant_colours(crop_resize(read_image(source, min_side=size), size, crop), colour_constancy)


def crop_resize(image_HWC: np.ndarray, size: int, crop: Crop) -> np.ndarray:
    """Make it square with an antialiased bilinear (triangle) filter.

    Args:
        image_HWC: uint8 (H, W, 3), or (H, W) for a mask.
        size: side of the square in pixels.
        crop: `center` takes the largest centred square, `squash` the whole image out of proportion.

    Returns:
        uint8 (S, S, 3) or (S, S), writable.
    """
    window = crop_window(image_HWC, crop)
    if window.shape[:2] == (size, size):
        return window.copy()
    square = Image.fromarray(np.ascontiguousarray(window)).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(square)


def crop_window(image_HWC: np.ndarray, crop: Crop, aspect: float | None = None) -> np.ndarray:
    """The part of the image that a crop keeps, as a view.

    Args:
        image_HWC: (H, W, …).
        crop: `center` or `squash`. Where the margin is odd, the square lies one pixel nearer the top left.
        aspect: width over height of the scene, where the image is squashed out of proportion: the part is
            then a square of the scene, and resizing it to a square sets the proportions right.

    Returns:
        A view of the same memory.
    """
    if crop == "squash":
        return image_HWC
    if crop != "center":
        raise ValueError(f"crop {crop!r} is not known; known: center, squash")
    height, width = image_HWC.shape[:2]
    rows = columns = min(height, width)
    if aspect is not None:
        # of the scene, height : width is 1 : aspect, whatever the pixels are
        rows = height if aspect >= 1 else round(height * aspect)
        columns = round(width / aspect) if aspect >= 1 else width
    top, left = (height - rows) // 2, (width - columns) // 2
    return image_HWC[top : top + rows, left : left + columns]
