"""What lies between skin and sensor: hair, the edge of the lens, a ruler, gel bubbles, ink.

Everything changes `image_3HW` (floats, 0 … 1) in place, and none of it knows the diagnosis.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from dermlens.data.synthetic.canvas import FRAME_MM
from dermlens.data.synthetic.fields import Field, blurred, drawn, ramp

HAIR_3 = np.array([0.16, 0.11, 0.09], np.float32)
INK_3 = np.array([0.65, 0.70, 0.25], np.float32)
"""How much a marker's violet takes away."""


def add_hair(image_3HW: Field, rng: np.random.Generator, usual: int, shade: float) -> None:
    """Thin, bent, dark, mostly one way; another picture of the patient shows other hairs.

    Args:
        image_3HW: the picture.
        rng: its generator.
        usual: hairs in a picture of this patient, on average.
        shade: how much they cover, 0 … 1.
    """
    count = int(rng.poisson(usual))
    if not count:
        return
    rows, columns = image_3HW.shape[1:]
    scale = rows / FRAME_MM
    main = rng.uniform(0, np.pi)
    t_N1 = np.linspace(0, 1, 14, dtype=np.float32)[:, None]
    strokes = []
    for _ in range(count):
        start = rng.uniform(-0.1, 1.1, 2) * (columns, rows)
        heading = main + rng.normal(0, 0.5)
        length = scale * rng.uniform(3, 14)
        end = start + length * np.array([np.cos(heading), np.sin(heading)])
        bend = (start + end) / 2 + rng.normal(0, 0.18, 2) * length
        path = (1 - t_N1) ** 2 * start + 2 * t_N1 * (1 - t_N1) * bend + t_N1**2 * end
        strokes.append((path.astype(np.float32), scale * rng.uniform(0.04, 0.11), shade))
    image_3HW += drawn((rows, columns), strokes) * (HAIR_3[:, None, None] - image_3HW)


def add_dermatoscope(image_3HW: Field, rng: np.random.Generator) -> None:
    """The round edge of the lens, a ruler, bubbles, ink; each in some pictures only."""
    edge, ruler, bubbles, ink = rng.random(4)
    if ink < 0.04:
        _add_ink(image_3HW, rng)
    if bubbles < 0.2:
        _add_bubbles(image_3HW, rng)
    if ruler < 0.12:
        _add_ruler(image_3HW, rng)
    if edge < 0.22:
        _add_lens_edge(image_3HW, rng)


def _add_ink(image_3HW: Field, rng: np.random.Generator) -> None:
    rows, columns = image_3HW.shape[1:]
    scale = rows / FRAME_MM
    corner = rng.integers(0, 2, 2) + rng.uniform(-0.12, 0.12, 2)
    path = corner * (columns, rows) + np.cumsum(rng.normal(0, 0.9 * scale, (6, 2)), axis=0)
    mark_HW = blurred(drawn((rows, columns), [(path.astype(np.float32), 0.5 * scale, 0.8)]), 0.1 * scale)
    image_3HW *= 1 - mark_HW * INK_3[:, None, None]


def _add_bubbles(image_3HW: Field, rng: np.random.Generator) -> None:
    """Air in the gel: a faint rim, brighter on the side of the lamp."""
    rows, columns = image_3HW.shape[1:]
    scale = 2 * rows / FRAME_MM
    picture = Image.new("L", (2 * columns, 2 * rows))
    pen = ImageDraw.Draw(picture)
    lamp = rng.uniform(0, 360)
    for _ in range(rng.integers(1, 12)):
        x, y, r = rng.uniform(0, 2 * columns), rng.uniform(0, 2 * rows), scale * rng.uniform(0.1, 0.6)
        pen.arc((x - r, y - r, x + r, y + r), 0, 360, 70, max(1, round(0.04 * scale)))
        pen.arc((x - r, y - r, x + r, y + r), lamp, lamp + 70, 200, max(1, round(0.08 * scale)))
    image_3HW += np.asarray(picture.reduce(2), np.float32) * np.float32(0.5 / 255)


def _add_ruler(image_3HW: Field, rng: np.random.Generator) -> None:
    """A tick every millimetre along one side, a long one every five."""
    rows, columns = image_3HW.shape[1:]
    scale = rows / FRAME_MM
    upright = rng.random() < 0.5
    length, across = (rows, columns) if upright else (columns, rows)
    at = rng.uniform(0.01, 0.06) * across
    side = at if rng.random() < 0.5 else across - at
    inward = 1 if side < across / 2 else -1
    strokes = []
    for tick in range(int(length / scale) + 1):
        along = (tick + 0.5) * scale
        tip = side + inward * scale * (1.1 if tick % 5 == 0 else 0.55)
        points = [(side, along), (tip, along)] if upright else [(along, side), (along, tip)]
        strokes.append((np.array(points, np.float32), 0.09 * scale, 0.85))
    image_3HW *= 1 - drawn((rows, columns), strokes)


def _add_lens_edge(image_3HW: Field, rng: np.random.Generator) -> None:
    rows, columns = image_3HW.shape[1:]
    y_H1 = (np.arange(rows, dtype=np.float32)[:, None] / rows - np.float32(rng.normal(0.5, 0.02))) ** 2
    x_1W = (
        np.arange(columns, dtype=np.float32) / rows - np.float32(columns / rows * rng.normal(0.5, 0.015))
    ) ** 2
    radius = rng.uniform(0.58, 0.8)
    image_3HW *= ramp(np.sqrt(x_1W + y_H1), radius, radius - rng.uniform(0.01, 0.08))
