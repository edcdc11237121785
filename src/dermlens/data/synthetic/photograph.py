"""From a painted lesion to a picture: skin, the angle it is seen at, light, and what lies between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from dermlens.data.synthetic.canvas import FRAME_MM, LAYERS, Canvas, Field, blurred, drawn, ramp, smooth_noise

# What lies between skin and sensor: hair, the edge of the lens, a ruler, gel bubbles, ink.
#
# Everything changes `image_3HW` (floats, 0 … 1) in place, and none of it knows the diagnosis.


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


# Nothing here knows the diagnosis. Light passes pigment on its way in and out, so densities add and the
# picture is skin · exp(−Σ density); how much red, green and blue each pigment absorbs sets its colour. Shape
# suffixes: K layers, H, W rows and columns, 3 colours, which come first because NumPy is several times faster
# on planes.


ABSORPTION_3K = np.array(
    [
        # melanin, deep, blood, keratin: the first four of LAYERS
        [0.62, 1.00, 0.16, 0.05],
        [0.95, 0.70, 0.95, 0.22],
        [1.20, 0.34, 0.72, 0.75],
    ],
    np.float32,
)
"""Density of one unit of each absorbing layer in red, green and blue."""

DEEPEST = 3.5
"""Densities are cut here, where nothing but black is left."""

SCATTER_3 = np.array([0.95, 0.90, 0.86], np.float32)
"""Colour of scar, scale and cysts."""

RED_GREEN, YELLOW_BLUE = np.array([0.5, -1.0, 0.5]), np.array([0.5, 0.3, -1.0])
"""Directions in which white balance drifts, log of red, green, blue."""

SKINS = np.array([[0.93, 0.76, 0.72], [0.94, 0.66, 0.68], [0.90, 0.72, 0.61], [0.82, 0.67, 0.72]], np.float32)
"""Pale, pink, tan, violet; a patient's skin is a mixture."""


@dataclass(frozen=True)
class Skin:
    """What stays the same from one picture of a patient to the next.

    Attributes:
        colour_3: red, green, blue in 0 … 1.
        mottle: unevenness of blood and pigment, density.
        furrows: depth of the lines of the skin, density.
        hairs: how many hairs cross a picture.
        hair_shade: darkness of the hair, 0 … 1.
    """

    colour_3: Field
    mottle: float
    furrows: float
    hairs: int
    hair_shade: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Skin:
        """A random patient's."""
        colour_3 = (rng.dirichlet([0.8, 0.8, 0.5, 0.4]) @ SKINS * rng.uniform(0.9, 1.05)).astype(np.float32)
        hairs = [0, int(rng.integers(2, 9)), int(rng.integers(10, 26)), int(rng.integers(35, 60))]
        return cls(
            colour_3=colour_3,
            mottle=min(0.03, 0.014 * rng.lognormal(0, 0.5)),
            furrows=rng.uniform(0.0, 0.05),
            hairs=int(rng.choice(hairs, p=[0.5, 0.28, 0.17, 0.05])),
            hair_shade=rng.uniform(0.55, 0.95),
        )


def photograph(
    canvas: Canvas, skin: Skin, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """One picture of a lesion, from an angle, a distance and in a light of its own.

    Args:
        canvas: the lesion.
        skin: the patient's.
        rng: the picture's own generator.
        size: rows and columns.

    Returns:
        image_HW3 in RGB, and the mask of the lesion, of the same rows and columns.
    """
    layers, white_HW, mask_HW = _seen(canvas, _placement(canvas, rng, size), size)
    pigment_HW, blood_HW = _mottle(skin, rng, size)
    layers[0] += pigment_HW
    layers[2] += blood_HW
    relief_HW = _furrows(skin, rng, size)
    image_3HW = np.empty((3, *size), np.float32)
    for plane_HW, absorption_K, colour, scatter in zip(
        image_3HW, ABSORPTION_3K, skin.colour_3, SCATTER_3, strict=True
    ):
        # Summed layer by layer, not as a matrix product, whose rounding may change with the threads in use.
        density_HW = relief_HW.copy()
        for layer_HW, absorption in zip(layers, absorption_K, strict=True):
            density_HW += layer_HW * absorption
        np.exp(np.negative(density_HW, out=density_HW), out=plane_HW)
        plane_HW *= colour
        plane_HW += white_HW * (scatter - plane_HW)
    add_hair(image_3HW, rng, skin.hairs, skin.hair_shade)
    cast_3 = np.exp(rng.normal(0, 0.035) * RED_GREEN + rng.normal(0, 0.05) * YELLOW_BLUE).astype(np.float32)
    image_3HW *= _light(rng, size)
    image_3HW *= cast_3[:, None, None]
    add_dermatoscope(image_3HW, rng)
    image_3HW += rng.standard_normal(size, dtype=np.float32) * np.float32(rng.uniform(0.003, 0.010))
    image_3HW *= 255
    image_HW3 = image_3HW.clip(0, 255, out=image_3HW).astype(np.uint8).transpose(1, 2, 0)
    if rng.random() < 0.25:
        blur = ImageFilter.GaussianBlur(rng.uniform(0.02, 0.06) * size[0] / FRAME_MM)
        image_HW3 = np.asarray(Image.fromarray(image_HW3).filter(blur))
    return image_HW3, mask_HW


def _placement(canvas: Canvas, rng: np.random.Generator, size: tuple[int, int]) -> tuple[float, ...]:
    """Picture to canvas as Pillow's six affine numbers: turn, zoom, slant, shift, mirror."""
    turn, zoom, slant = rng.uniform(0, 2 * np.pi), rng.lognormal(0, 0.1), rng.uniform(0.94, 1.06)
    ratio = canvas.scale / (size[0] / FRAME_MM) / zoom
    a, b = ratio * np.cos(turn) * slant, -ratio * np.sin(turn)
    d, e = ratio * np.sin(turn) * slant, ratio * np.cos(turn)
    if rng.random() < 0.5:
        a, d = -a, -d
    x = size[1] / 2 + rng.normal(0, 0.05) * size[0]
    y = size[0] / 2 + rng.normal(0, 0.05) * size[0]
    middle = canvas.shape[0] / 2
    return a, b, middle - a * x - b * y, d, e, middle - d * x - e * y


def _seen(
    canvas: Canvas, place: tuple[float, ...], size: tuple[int, int]
) -> tuple[list[Field], Field, NDArray[np.bool_]]:
    """The four densities, the white and the mask as the camera has them in view.

    Pillow turns all bands of an 8-bit picture in one pass, much faster than as many planes of floats.
    """
    densities_HWK = np.stack([canvas.layers[name] for name in LAYERS[:4]], axis=-1)
    densities_HWK = (densities_HWK * np.float32(255 / DEEPEST)).clip(0, 255).astype(np.uint8)
    # As CMYK, four plain bands: an RGBA picture would have its colours multiplied by the fourth.
    densities = Image.frombytes("CMYK", canvas.shape[::-1], densities_HWK.tobytes())
    white = Image.fromarray((canvas.layers["white"].clip(0, 0.9) * np.float32(255)).astype(np.uint8))
    inside = Image.fromarray((canvas.depth_HW < 1).astype(np.uint8))
    how = (size[::-1], Image.Transform.AFFINE, place)
    four_HWK = np.asarray(densities.transform(*how, Image.Resampling.BILINEAR))
    layers = [four_HWK[..., k].astype(np.float32) * np.float32(DEEPEST / 255) for k in range(4)]
    white_HW = np.asarray(white.transform(*how, Image.Resampling.BILINEAR), np.float32) / np.float32(255)
    return layers, white_HW, np.asarray(inside.transform(*how, Image.Resampling.NEAREST)) > 0


def _mottle(skin: Skin, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Field, Field]:
    """Slow unevenness of pigment and of blood, (H, W) each; made at a third of the size, being smooth."""
    small = (size[0] // 3, size[1] // 3)
    planes = []
    for strength in (0.7, 1.6):
        field_HW = smooth_noise(rng, small, rng.uniform(2, 5)) + smooth_noise(rng, small, rng.uniform(8, 16))
        field_HW += np.float32(0.7) * smooth_noise(rng, small, rng.uniform(25, 60))
        planes.append(field_HW * np.float32(skin.mottle * strength))
    if rng.random() < 0.2:
        # Freckles and sun spots.
        spots_HW = smooth_noise(rng, small, rng.uniform(12, 30)) - np.float32(1.3)
        planes[0] += np.float32(rng.uniform(0.03, 0.12)) * spots_HW.clip(0)
    return _enlarged(planes[0], size), _enlarged(planes[1], size)


def _furrows(skin: Skin, rng: np.random.Generator, size: tuple[int, int]) -> Field:
    """The fine relief of skin: lines between small fields, and grain."""
    half = (size[0] // 2, size[1] // 2)
    lines_HW = np.abs(smooth_noise(rng, half, rng.uniform(30, 50))) * np.float32(-skin.furrows)
    lines_HW += smooth_noise(rng, half, 110) * np.float32(rng.uniform(0.004, 0.015))
    return _enlarged(lines_HW, size)


def _enlarged(field_HW: Field, size: tuple[int, int]) -> Field:
    picture = Image.fromarray(field_HW).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(picture, np.float32)


def _light(rng: np.random.Generator, size: tuple[int, int]) -> Field:
    """Exposure, a gradient and the fall-off to the corners; (H, W) to multiply with."""
    y_H1 = np.linspace(-1, 1, size[0], dtype=np.float32)[:, None]
    x_1W = np.linspace(-1, 1, size[1], dtype=np.float32)
    slope_y, slope_x = rng.normal(0, 0.04, 2).astype(np.float32)
    fall = np.float32(rng.uniform(0, 0.14))
    # Over-exposure would wash the lesion out; under-exposure is common.
    exposure = np.float32(min(1.08, 0.98 * rng.lognormal(0, 0.07)))
    light_HW: Field = exposure * (1 + slope_x * x_1W + slope_y * y_H1 - fall * (x_1W**2 + y_H1**2))
    return light_HW
