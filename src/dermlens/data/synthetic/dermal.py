"""Dermatofibromas and vascular lesions: what grows below the epidermis."""

from __future__ import annotations

import numpy as np

from dermlens.data.synthetic.canvas import Canvas, Outline, chance, radius_around


def dermatofibroma(rng: np.random.Generator, scale: float) -> Canvas:
    """Dermatofibroma: a white scar-like patch in the middle, a delicate network around it."""
    outline = Outline(
        radius_around(rng, 3.4),
        elongation=rng.uniform(1.0, 1.45),
        lobes=rng.uniform(0.03, 0.10),
        ragged=rng.uniform(0.04, 0.08),
        softness=rng.uniform(0.7, 2.0),
    )
    canvas = Canvas(outline, rng, scale)
    core = rng.uniform(0.3, 0.6)
    scarred = chance(rng, 0.7)
    brown = 0.22 * rng.lognormal(0, 0.4)
    scar_HW = canvas.spot(canvas.somewhere(0, 0.12), outline.radius * core, outline.radius * 0.35, 0.2)
    canvas.add("melanin", brown * (1 - 0.75 * scar_HW) * (1 + 0.15 * canvas.noise(1.2)))
    canvas.add("blood", rng.uniform(0.05, 0.3))
    if chance(rng, 0.8):
        canvas.reticulate(
            brown * rng.uniform(0.8, 1.8),
            rng.uniform(0.15, 0.3),
            low=core * (0.8 if scarred else 0.2),
        )
    if scarred:
        canvas.add("white", rng.uniform(0.2, 0.6) * scar_HW * (1 + 0.2 * canvas.noise(0.5)))
        if chance(rng, 0.35):
            canvas.add("blood", rng.uniform(0.1, 0.5) * scar_HW)
    else:
        canvas.add("melanin", rng.uniform(0.1, 0.5) * scar_HW)
        canvas.add("blood", rng.uniform(0.0, 0.35) * scar_HW)
    if chance(rng, 0.25):
        canvas.add("white", rng.uniform(0.2, 0.5) * canvas.patches(0.6, 0.15), canvas.inside_HW * scar_HW)
    return canvas


def vascular_lesion(rng: np.random.Generator, scale: float) -> Canvas:
    """Angioma, angiokeratoma, haemorrhage: well-defined red, purple or black lacunae with pale septa."""
    kind = rng.choice(["red", "purple", "thrombosed", "haemorrhage"], p=[0.42, 0.28, 0.15, 0.15])
    outline = Outline(
        radius_around(rng, 2.6),
        elongation=rng.uniform(1.0, 1.5),
        lobes=rng.uniform(0.03, 0.12),
        ragged=rng.uniform(0.02, 0.06),
        softness=rng.uniform(0.15, 0.5),
    )
    canvas = Canvas(outline, rng, scale)
    canvas.add("blood", rng.uniform(0.2, 0.8))
    if kind == "haemorrhage":
        canvas.add("blood", rng.uniform(0.5, 1.2) * (1 + 0.15 * canvas.noise(1.5)))
        canvas.add("melanin", rng.uniform(0.1, 0.9))
        return canvas
    lakes_N2 = canvas.points((10, 45), 0, 0.9)
    lakes_HW = canvas.dots(
        lakes_N2, (0.08 * outline.radius, 0.26 * outline.radius), blur=rng.uniform(0.06, 0.16)
    )
    canvas.add("blood", rng.uniform(0.5, 1.3) * lakes_HW)
    if kind == "purple":
        canvas.add("deep", rng.uniform(0.3, 0.9) * (0.5 + 0.6 * lakes_HW))
    if kind == "thrombosed":
        clot_HW = canvas.spot(canvas.somewhere(0, 0.4), outline.radius * rng.uniform(0.4, 0.9), 0.3)
        canvas.add("melanin", rng.uniform(0.6, 1.6) * clot_HW)
        canvas.add("deep", rng.uniform(0.3, 0.9) * clot_HW)
    if chance(rng, 0.6):
        canvas.add("white", rng.uniform(0.1, 0.4) * (1 - lakes_HW))
    if chance(rng, 0.25):
        canvas.add("keratin", rng.uniform(0.2, 0.6) * canvas.patches(0.9, 0.2))
    return canvas
