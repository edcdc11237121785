"""Crops that an image gives by itself, and skin found by colour: steps before a classifier sees it.

    frame   the round field of view of a dermatoscope out of its black frame (Gessert et al. 2020, [10])
    centre  the largest square around the centre of mass of all that is not black ([6], as the paper has it)
    skin    tiles whose colours are the image's usual ones set to black ([39], as the paper has it)

`frame` follows the authors' code, but for the radius, which here is that of a disc of the region's area. Of
`centre` the paper says "low threshold, centre of mass", of `skin` that the histograms of the three channels
are multiplied and compared with a mean by a threshold; all else is assumed.

Shapes: H × W, 3 red, green and blue; T tiles of P pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dermlens.errors import require

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
LUMA = np.array([0.299, 0.587, 0.114])

BLUR, OF_OTSU, OF_RADIUS, DARKEST = 2.0, 0.2, 0.9, 0.3
LOW = 0.1
"""Share of white above which a pixel is not black."""
TILE, BINS = 8, 16


def frame_box(x_HW3: Pixels) -> Box | None:
    """(left, top, right, bottom) of the square within a round field of view; none without a black frame.

    The grey image is blurred with σ 2, what is above a fifth of Otsu's threshold is light, its largest region
    is the field of view. There is a frame where what is outside has less than 0.3 of the square's brightness.
    """
    grey_HW = ndimage.gaussian_filter(x_HW3 @ LUMA, BLUR)
    if not np.ptp(grey_HW) > 0:
        return None
    otsu = require("skimage.filters", "explain").threshold_otsu(grey_HW)
    region_HW, count = ndimage.label(grey_HW > OF_OTSU * otsu)
    largest = 1 + int(np.argmax(np.bincount(region_HW.ravel(), minlength=count + 1)[1:]))
    inside_HW = region_HW == largest
    radius = OF_RADIUS * float(np.sqrt(inside_HW.sum() / np.pi))
    row, column = ndimage.center_of_mass(inside_HW)
    box = _square(row, column, radius, inside_HW.shape)
    left, top, right, bottom = box
    within_HW = np.zeros(inside_HW.shape, bool)
    within_HW[top:bottom, left:right] = True
    if within_HW.all():
        return None
    return box if grey_HW[~within_HW].mean() < DARKEST * grey_HW[within_HW].mean() else None


def centre_box(x_HW3: Pixels) -> Box:
    """The largest square around the centre of mass of what is not black; the centred one if all is black."""
    light_HW = x_HW3 @ LUMA > LOW * 255
    height, width = light_HW.shape
    row, column = ndimage.center_of_mass(light_HW) if light_HW.any() else ((height - 1) / 2, (width - 1) / 2)
    # the centre of a pixel is half a pixel from its edge
    half = min(row + 0.5, column + 0.5, height - row - 0.5, width - column - 0.5)
    return _square(row, column, half, light_HW.shape)


def _square(row: float, column: float, half: float, shape: tuple[int, ...]) -> Box:
    """Around a centre, cut off at the image's border, a pixel at least."""
    ends = []
    for centre, length in ((column, shape[1]), (row, shape[0])):
        first = min(max(0, round(centre + 0.5 - half)), length - 1)
        ends.append((first, max(first + 1, min(length, round(centre + 0.5 + half)))))
    (left, right), (top, bottom) = ends
    return left, top, right, bottom


def product_histograms(tiles_TP3: NDArray[Any], bins: int = BINS) -> NDArray[np.float64]:
    """The shares of a tile's pixels by red, by green and by blue, multiplied bin by bin: (T, bins)."""
    cell_TP3 = tiles_TP3.astype(np.int64) * bins // 256
    shares_T3K = (cell_TP3[..., None] == np.arange(bins)).mean(axis=1)
    return np.asarray(shares_T3K.prod(axis=1))


def without_skin(x_HW3: Pixels, tile: int = TILE) -> Pixels:
    """Tiles whose product of histograms lies nearer than usual to the mean of all tiles are set to black.

    Args:
        x_HW3: sides beyond a multiple of the tile are left as they are.
        tile: side of a tile.
    """
    rows, columns = (side // tile for side in x_HW3.shape[:2])
    whole = x_HW3[: rows * tile, : columns * tile]
    tiles_TP3 = whole.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2).reshape(rows * columns, -1, 3)
    found_TK = product_histograms(tiles_TP3)
    away_T = np.linalg.norm(found_TK - found_TK.mean(axis=0), axis=1)
    skin_RC = (away_T < away_T.mean()).reshape(rows, columns)
    made = x_HW3.copy()
    made[: rows * tile, : columns * tile][np.kron(skin_RC, np.ones((tile, tile), bool))] = 0
    return made
