"""The sheet a synthetic lesion is painted on: noise, maps of what absorbs light, and brushes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

# Fields of numbers over a sheet, from which all else is mixed: smooth noise, drawn lines and discs, ramps.
#
# Shape suffixes: H, W rows and columns; N points; 2 is (x, y), 4 is (x, y, radius, level).


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


# Lengths are millimetres on the skin: a picture is `FRAME_MM` high, whatever its size in pixels. Shape
# suffixes: H, W rows and columns of the sheet; N points; 2 is (x, y).


FRAME_MM = 15.0
"""Height of the field of view: what 450 rows of a HAM10000 picture show, roughly."""

LAYERS = ("melanin", "deep", "blood", "keratin", "white")
"""Brown pigment, pigment deep in the dermis (blue-grey), haemoglobin, yellow keratin: optical densities;
white (scar, scale, cysts): share of the light that is scattered back before it reaches the others."""


@dataclass
class Outline:
    """The border of a lesion.

    Attributes:
        radius: mean radius, mm.
        elongation: long over short axis.
        lobes: size of the slow bulges (an egg, a kidney), share of the radius.
        ragged: size of the fine irregularity, share of the radius.
        softness: over how many mm the border fades.
    """

    radius: float
    elongation: float = 1.2
    lobes: float = 0.06
    ragged: float = 0.04
    softness: float = 0.5


def radius_around(rng: np.random.Generator, middle: float) -> float:
    """A radius in mm, log-normal around `middle`, never so large that the lesion leaves the picture."""
    return float(np.clip(middle * rng.lognormal(0, 0.3), 1.2, 6.0))


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return bool(rng.random() < probability)


@dataclass
class Canvas:
    """One lesion seen straight from above, without skin, light or hair.

    Attributes:
        outline: what it was made with.
        rng: the lesion's own generator.
        scale: pixels a millimetre.
        x_HW, y_HW: millimetres from the centre.
        reach: half the side of the sheet, mm.
        depth_HW: 0 in the centre, 1 on the border, more outside.
        inside_HW: about 1 inside, with the grain that pigment has, fading to 0 over the border's softness.
        layers: the maps, by the names in LAYERS.
    """

    outline: Outline
    rng: np.random.Generator
    scale: float
    reach: float = field(init=False)
    x_HW: Field = field(init=False, repr=False)
    y_HW: Field = field(init=False, repr=False)
    depth_HW: Field = field(init=False, repr=False)
    inside_HW: Field = field(init=False, repr=False)
    layers: dict[str, Field] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        outline, rng = self.outline, self.rng
        self.reach = 1.4 * outline.radius * outline.elongation**0.5 + 0.4
        # A large lesion is painted a little coarser: nobody sees it, and it costs what a small one does.
        self.scale = min(self.scale, self.scale * 0.45 * FRAME_MM / self.reach)
        side = 2 * int(np.ceil(self.reach * self.scale))
        axis = (np.arange(side, dtype=np.float32) - (side - 1) / 2) / np.float32(self.scale)
        self.x_HW = np.broadcast_to(axis, (side, side))
        self.y_HW = np.broadcast_to(axis[:, None], (side, side))
        stretch = np.float32(outline.elongation**0.5)
        angle_HW = np.arctan2(self.y_HW * stretch, self.x_HW / stretch)
        reach_HW = np.hypot(self.y_HW * stretch, self.x_HW / stretch)
        # The border's radius is a function of the angle alone: looked up, not computed for every pixel.
        turn = np.linspace(-np.pi, np.pi, 721)
        border = np.ones_like(turn)
        for k in range(2, 9):
            bulge = outline.lobes / (k - 1) + outline.ragged / 4 * (k > 4)
            border += bulge * rng.normal() * np.cos(k * turn + rng.uniform(0, 2 * np.pi))
        step_HW = ((angle_HW + np.float32(np.pi)) * np.float32(720 / (2 * np.pi))).astype(np.int32)
        border_HW = (outline.radius * border.clip(0.5, 1.3)).astype(np.float32)[step_HW]
        fray_HW = self.noise(1.1) + np.float32(0.6) * self.noise(0.4)
        self.depth_HW = reach_HW / border_HW + np.float32(outline.ragged) * fray_HW
        soft = outline.softness / outline.radius
        grain_HW = 1 + np.float32(0.10) * self.noise(0.22) + np.float32(0.12) * self.noise(0.6)
        self.inside_HW = ramp(self.depth_HW, 1 + soft / 2, 1 - soft / 2) * grain_HW.clip(0.4, 1.6)
        # Nothing may touch the edge of the sheet, or the picture would show its corner.
        rim_HW = np.maximum(np.abs(self.x_HW), np.abs(self.y_HW))
        self.inside_HW *= ramp(rim_HW, 0.99 * self.reach, 0.85 * self.reach)
        self.layers = {name: np.zeros((side, side), np.float32) for name in LAYERS}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.x_HW.shape[0], self.x_HW.shape[1]

    def add(self, layer: str, amount_HW: Field | float, within_HW: Field | None = None) -> None:
        """Add to a layer, inside the lesion or `within_HW`."""
        self.layers[layer] += (self.inside_HW if within_HW is None else within_HW) * amount_HW

    def noise(self, grain: float) -> Field:
        """Smooth noise whose bumps are about `grain` mm wide."""
        return smooth_noise(self.rng, self.shape, max(2.0, 2 * self.reach / grain))

    def patches(self, grain: float, share: float, edge: float = 0.6) -> Field:
        """Irregular patches about `grain` mm wide that cover roughly `share` of the sheet; 0 … 1."""
        field_HW = (
            self.noise(grain)
            + np.float32(0.5) * self.noise(grain / 3)
            + np.float32(0.2) * self.noise(grain / 8)
        )
        level = float(np.quantile(field_HW[::4, ::4], 1 - share))
        return ramp(field_HW, level - edge, level + edge)

    def spot(self, at: tuple[float, float], radius: float, edge: float, wobble: float = 0.25) -> Field:
        """One area with an uneven outline; 0 … 1.

        Args:
            at: centre in mm.
            radius: mm.
            edge: mm over which it fades.
            wobble: unevenness, share of the radius.
        """
        far_HW = np.hypot(self.x_HW - np.float32(at[0]), self.y_HW - np.float32(at[1]))
        uneven_HW = self.noise(1.4) + np.float32(0.5) * self.noise(0.45)
        return ramp(far_HW + np.float32(wobble * radius) * uneven_HW, radius + edge / 2, radius - edge / 2)

    def somewhere(self, low: float, high: float) -> tuple[float, float]:
        """A random place at `low` … `high` of the radius from the centre, mm."""
        turn, far = self.rng.uniform(0, 2 * np.pi), self.outline.radius * self.rng.uniform(low, high)
        return float(far * np.cos(turn)), float(far * np.sin(turn))

    def mesh(self, pitch: float, disorder: float) -> Field:
        """A honeycomb: 0 in the middle of its holes, 1 where its lines meet.

        Args:
            pitch: distance of the holes, mm.
            disorder: how far the mesh is bent, in pitches.
        """
        turn = self.rng.uniform(0, np.pi)
        bend = np.float32(disorder * pitch)
        x_HW = self.x_HW + bend * (self.noise(2.2 * pitch) + self.noise(6 * pitch))
        y_HW = self.y_HW + bend * (self.noise(2.2 * pitch) + self.noise(6 * pitch))
        wave = np.float32(2 * np.pi / pitch * 1.1547)
        total_HW = np.zeros(self.shape, np.float32)
        for k in range(3):
            a = turn + k * np.pi / 3
            total_HW += np.cos(x_HW * (wave * np.float32(np.cos(a))) + y_HW * (wave * np.float32(np.sin(a))))
        return (3 - total_HW) / np.float32(4.5)

    def reticulate(self, amount: float, disorder: float, low: float = 0.0) -> None:
        """A pigment network: brown lines around pale holes, from depth `low` outwards."""
        mesh_HW = self.mesh(self.rng.uniform(0.38, 0.62), disorder)
        line_HW = (mesh_HW * 1.6 - 0.6).clip(0, 1) * (0.75 + 0.35 * self.noise(1.2)).clip(0.1, 1.4)
        zone_HW = ((self.depth_HW - low) * 6).clip(0, 1) * ((1.15 - self.depth_HW) * 6).clip(0, 1)
        self.add("melanin", amount * line_HW, self.inside_HW * zone_HW)

    def within(self, depth: float) -> Field:
        """1 up to a depth, 0 beyond."""
        return (self.depth_HW < depth).astype(np.float32)

    def points(self, count: tuple[int, int], low: float, high: float) -> Field:
        """Places in pixels whose depth lies in `low` … `high`, a random number of them in a range; (N, 2)."""
        most = int(self.rng.integers(*count))
        tries_N2 = self.rng.integers(0, self.shape[0], (8 * most + 8, 2))
        depth_N = self.depth_HW[tries_N2[:, 1], tries_N2[:, 0]]
        found_N2: Field = tries_N2[(depth_N >= low) & (depth_N <= high)][:most].astype(np.float32)
        return found_N2

    def dots(self, points_N2: Field, radius: tuple[float, float], blur: float = 0.03) -> Field:
        """Round dots at `points_N2`, radii in mm between the two given, some paler than others; 0 … 1."""
        count = len(points_N2)
        radius_N = self.rng.uniform(*radius, count) * self.scale
        level_N = self.rng.uniform(0.55, 1, count)
        sheet_HW = drawn(self.shape, discs_N4=np.column_stack([points_N2, radius_N, level_N]))
        return blurred(sheet_HW, blur * self.scale)

    def tree(self, start: tuple[float, float], heading: float, length: float, width: float) -> list[Stroke]:
        """A vessel that branches and thins, as strokes for `drawn`.

        Args:
            start: mm from the centre.
            heading: radians.
            length: of the trunk, mm.
            width: of the trunk, mm.
        """
        rng = self.rng
        strokes: list[Stroke] = []
        todo = [(start, heading, length, width)]
        while todo and len(strokes) < 40:
            (x, y), heading, length, width = todo.pop(0)
            bends = heading + np.cumsum(rng.normal(0, 0.28, 7))
            steps = np.column_stack([np.cos(bends), np.sin(bends)]) * length / 7
            path = np.cumsum(np.vstack([[x, y], steps]), axis=0)
            pixels = (path * self.scale + (self.shape[0] - 1) / 2).astype(np.float32)
            strokes.append((pixels, width * self.scale, float(rng.uniform(0.7, 1))))
            if width > 0.05:
                for side in (-1, 1):
                    x, y = path[rng.integers(3, 8)].tolist()
                    turn = float(bends[-1]) + side * rng.uniform(0.4, 0.9)
                    todo.append(((x, y), turn, length * rng.uniform(0.5, 0.8), width * 0.68))
        return strokes

    def rays(self, count: tuple[int, int], length: float, width: float) -> Field:
        """Streaks that stand on the border and point outwards; 0 … 1."""
        middle = (self.shape[0] - 1) / 2
        strokes = []
        for foot in self.points(count, 0.9, 1.02):
            out = (foot - middle) / (np.hypot(*(foot - middle)) + 1e-6)
            tip = foot + out * length * self.scale * self.rng.uniform(0.6, 1.3)
            path = np.stack([foot - out * 0.5 * length * self.scale, foot, tip]).astype(np.float32)
            strokes.append((path, width * self.scale, float(self.rng.uniform(0.6, 1))))
        return blurred(drawn(self.shape, strokes), 0.03 * self.scale)
