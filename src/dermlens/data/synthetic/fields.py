"""Fields of numbers over a sheet, from which all else is mixed: smooth noise, drawn lines and discs, ramps.

Shape suffixes: H, W rows and columns; N points; 2 is (x, y), 4 is (x, y, radius, level).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Field = NDArray[np.floating[Any]]
Stroke = tuple[Field, float, float]
"""points_N2 in pixels, width in pixels, level in 0 … 1."""


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: float) -> Field:
    """Noise without a preferred direction, mean 0 and standard deviation 1.

    Args:
        rng: where the numbers come from; how many it gives depends on the proportions of `shape` only.
        shape: rows and columns.
        cells: how many independent values fit along the longer side.

    Returns:
        (H, W) field, bicubic between the values.
    """
    longer = max(shape)
    rows, columns = (max(2, round(cells * side / longer)) for side in shape)
    grid = rng.standard_normal((rows + 4, columns + 4), dtype=np.float32)
    # Two cells at each edge stay outside: interpolation flattens there.
    box = (2.0, 2.0, columns + 2.0, rows + 2.0)
    values = np.asarray(Image.fromarray(grid).resize(shape[::-1], Image.Resampling.BICUBIC, box=box))
    few = values[::4, ::4]
    noise: Field = (values - few.mean()) / (few.std() + np.float32(1e-6))
    return noise


def drawn(shape: tuple[int, int], strokes: Iterable[Stroke] = (), discs_N4: Field | None = None) -> Field:
    """Lines and discs with smooth edges, drawn at twice the size and reduced.

    Args:
        shape: rows and columns.
        strokes: the lines.
        discs_N4: the discs; lengths in pixels, level in 0 … 1.

    Returns:
        (H, W) field in 0 … 1; what is drawn later covers what was drawn before.
    """
    picture = Image.new("L", (2 * shape[1], 2 * shape[0]))
    pen = ImageDraw.Draw(picture)
    for points_N2, width, level in strokes:
        # A line thinner than half a pixel fades instead of vanishing.
        ink = round(255 * level * min(1.0, 2 * width))
        pen.line([(2 * x, 2 * y) for x, y in points_N2.tolist()], ink, max(1, round(2 * width)), "curve")
    for x, y, radius, level in () if discs_N4 is None else discs_N4.tolist():
        ink = round(255 * level * min(1.0, 2 * radius))
        r = max(radius, 0.5)
        pen.ellipse((2 * (x - r), 2 * (y - r), 2 * (x + r), 2 * (y + r)), ink)
    return np.asarray(picture.reduce(2), np.float32) / np.float32(255)


def blurred(field_HW: Field, radius: float) -> Field:
    """A field in 0 … 1 through a Gaussian of `radius` pixels, in 8-bit steps."""
    picture = Image.fromarray(np.rint(field_HW.clip(0, 1) * 255).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255)


def ramp(field_HW: Field, low: float, high: float) -> Field:
    """0 below `low`, 1 above `high`, a smooth step between; falling if `low` > `high`."""
    t_HW: Field = ((field_HW - low) / (high - low)).clip(0, 1)
    return t_HW * t_HW * (3 - 2 * t_HW)
