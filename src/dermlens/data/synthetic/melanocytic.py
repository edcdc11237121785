"""Nevi and melanomas."""

from __future__ import annotations

import math

import numpy as np

from dermlens.data.synthetic.canvas import Canvas, Outline, chance, radius_around
from dermlens.data.synthetic.fields import blurred


def nevus(rng: np.random.Generator, scale: float) -> Canvas:
    """Melanocytic nevus: symmetric, one or two browns, an even network or globules, or nothing but colour."""
    kind = rng.choice(
        ["reticular", "globular", "homogeneous", "dermal", "atypical"], p=[0.42, 0.18, 0.18, 0.10, 0.12]
    )
    atypical = kind == "atypical"
    outline = Outline(
        radius_around(rng, 3.6),
        elongation=rng.uniform(1.0, 1.6),
        lobes=rng.uniform(0.09, 0.16) if atypical else rng.uniform(0.02, 0.08),
        ragged=rng.uniform(0.06, 0.10) if atypical else rng.uniform(0.02, 0.06),
        softness=rng.uniform(0.3, 1.4),
    )
    canvas = Canvas(outline, rng, scale)
    brown = 0.22 if kind == "dermal" else 0.32 * rng.lognormal(0, 0.45)
    canvas.add("melanin", brown * (1 + 0.12 * canvas.noise(1.5)))
    canvas.add("blood", rng.uniform(0.15, 0.45) if kind == "dermal" else rng.uniform(0.0, 0.25))
    if kind in ("reticular", "atypical"):
        canvas.reticulate(
            brown * rng.uniform(0.8, 2.0),
            rng.uniform(0.3, 0.45) if atypical else rng.uniform(0.14, 0.28),
        )
    if kind == "globular" or chance(rng, 0.15):
        globules_N2 = canvas.points((25, 110), 0, 0.95)
        canvas.add("melanin", rng.uniform(0.4, 1.1) * canvas.dots(globules_N2, (0.08, 0.2)))
    middle_HW = (1.1 - canvas.depth_HW * rng.uniform(0.9, 1.5)).clip(0, 1)
    if chance(rng, 0.5):
        # The second brown: a darker or a paler middle, or in an atypical nevus patches.
        canvas.add(
            "melanin", brown * rng.uniform(-0.5, 1.3) * (canvas.patches(1.8, 0.4) if atypical else middle_HW)
        )
    if chance(rng, 0.15):
        canvas.add("deep", rng.uniform(0.1, 0.5) * middle_HW)
    return canvas


def melanoma(rng: np.random.Generator, scale: float) -> Canvas:
    """Melanoma: asymmetric, ragged, several colours, broken network, streaks, dots, veil, regression."""
    kind = str(rng.choice(["spreading", "nodular", "early", "pale"], p=[0.55, 0.15, 0.22, 0.08]))
    early = kind == "early"
    outline = Outline(
        radius_around(rng, 3.6 if early else 4.8),
        elongation=rng.uniform(1.05, 1.7),
        lobes=rng.uniform(0.06, 0.12) if early else rng.uniform(0.10, 0.22),
        ragged=rng.uniform(0.03, 0.06) if early else rng.uniform(0.04, 0.09),
        softness=rng.uniform(0.3, 1.2),
    )
    canvas = Canvas(outline, rng, scale)
    brown = {"spreading": 0.45, "nodular": 0.7, "early": 0.35, "pale": 0.12}[kind] * rng.lognormal(0, 0.35)
    # Pigment leans to one side: asymmetry of colour is the first thing one sees.
    x, y = canvas.somewhere(0.3, 0.6)
    slope_HW = (canvas.x_HW * x + canvas.y_HW * y) / (math.hypot(x, y) * outline.radius)
    canvas.add(
        "melanin", brown * (1 + rng.uniform(0.1, 0.7) * slope_HW + 0.25 * canvas.noise(1.6)).clip(0.15)
    )
    canvas.add(
        "blood", rng.uniform(0.05, 0.35) * (1 + (2 if kind == "pale" else 0.3) * canvas.patches(1.5, 0.4))
    )
    share = 0.35 if early else 0.75
    if chance(rng, share):
        dark_HW = canvas.patches(2.2, rng.uniform(0.15, 0.4), edge=rng.uniform(0.3, 1.0))
        canvas.add("melanin", rng.uniform(0.5, 1.5) * dark_HW)
    if chance(rng, share):
        canvas.reticulate(brown * rng.uniform(1.2, 2.6), rng.uniform(0.4, 0.75), low=rng.uniform(0, 0.5))
    if chance(rng, share * 0.8):
        veil_HW = canvas.spot(canvas.somewhere(0, 0.55), outline.radius * rng.uniform(0.35, 0.65), 1.6, 0.3)
        canvas.add("deep", rng.uniform(0.5, 1.1) * veil_HW)
        canvas.add("white", rng.uniform(0.05, 0.2) * veil_HW)
    if chance(rng, share * 0.5):
        scar_HW = canvas.spot(canvas.somewhere(0.1, 0.7), outline.radius * rng.uniform(0.25, 0.45), 1.2, 0.4)
        canvas.layers["melanin"] *= 1 - 0.8 * scar_HW
        canvas.add("white", rng.uniform(0.2, 0.5) * scar_HW)
        pepper_N2 = canvas.points((40, 160), 0, 0.9)
        canvas.add("deep", 0.8 * canvas.dots(pepper_N2, (0.03, 0.07)), canvas.inside_HW * scar_HW)
    if chance(rng, share * 0.8):
        dots_N2 = canvas.points((10, 70), rng.uniform(0.3, 0.7), 1.05)
        canvas.add("melanin", rng.uniform(0.8, 1.6) * canvas.dots(dots_N2, (0.04, 0.2)), canvas.within(1.2))
    if chance(rng, share * 0.6):
        side_HW = np.float32(1) * (slope_HW > rng.uniform(-0.6, 0.3))
        rays_HW = canvas.rays((15, 50), rng.uniform(0.4, 0.8), rng.uniform(0.1, 0.2))
        canvas.add("melanin", rng.uniform(0.5, 1.3) * rays_HW, blurred(side_HW, 0.2 * canvas.scale))
    if kind == "nodular":
        lump_HW = canvas.spot(canvas.somewhere(0, 0.3), outline.radius * 0.75, 0.8)
        canvas.add("melanin", rng.uniform(0.3, 1.6) * lump_HW)
        canvas.add("deep", rng.uniform(0.3, 0.8) * lump_HW)
    return canvas
