"""Keratoses and basal cell carcinomas: what grows from the epidermis and its follicles."""

from __future__ import annotations

import numpy as np

from dermlens.data.synthetic.canvas import Canvas, Outline, chance, radius_around
from dermlens.data.synthetic.fields import blurred, drawn


def actinic_keratosis(rng: np.random.Generator, scale: float) -> Canvas:
    """Actinic keratosis, Bowen's disease: red, strawberry pattern, glomerular vessels, scale; no network."""
    kind = str(rng.choice(["strawberry", "bowen", "pigmented"], p=[0.45, 0.32, 0.23]))
    outline = Outline(
        radius_around(rng, 4.3),
        elongation=rng.uniform(1.0, 1.6),
        lobes=rng.uniform(0.08, 0.18),
        ragged=rng.uniform(0.08, 0.15),
        softness=rng.uniform(0.6, 2.2),
    )
    canvas = Canvas(outline, rng, scale)
    canvas.add("blood", rng.uniform(0.2, 0.5) * (1 + 0.3 * canvas.noise(1.5)))
    canvas.add("keratin", rng.uniform(0.0, 0.2))
    if kind != "bowen":
        # Red between the hair follicles, which stay pale with a yellow plug: the surface of a strawberry.
        mesh_HW = canvas.mesh(rng.uniform(0.5, 0.9), rng.uniform(0.28, 0.45))
        canvas.add("blood", rng.uniform(0.3, 0.7) * mesh_HW)
        plug_HW = (1 - mesh_HW * 3.5).clip(0, 1)
        canvas.add("white", rng.uniform(0.1, 0.5) * plug_HW)
        canvas.add("keratin", rng.uniform(0.1, 0.5) * plug_HW)
        if kind == "pigmented":
            canvas.add("melanin", rng.uniform(0.2, 0.6) * (0.4 + mesh_HW) * canvas.patches(1.8, 0.6))
    else:
        tufts_N2 = canvas.points((30, 120), 0, 0.95)
        zone_HW = canvas.inside_HW * canvas.patches(1.8, 0.6)
        canvas.add("blood", rng.uniform(0.6, 1.2) * canvas.dots(tufts_N2, (0.07, 0.15)), zone_HW)
        if chance(rng, 0.35):
            canvas.add("melanin", rng.uniform(0.15, 0.5) * canvas.patches(1.8, 0.5))
    if chance(rng, 0.7):
        scale_HW = canvas.patches(rng.uniform(0.7, 1.5), rng.uniform(0.08, 0.35), edge=0.2)
        canvas.add("white", rng.uniform(0.3, 0.8) * scale_HW)
        canvas.add("keratin", rng.uniform(0.1, 0.7) * scale_HW)
    if chance(rng, 0.2):
        crust_HW = canvas.spot(canvas.somewhere(0, 0.6), rng.uniform(0.3, 0.9), 0.3, 0.5)
        canvas.add("melanin", rng.uniform(0.3, 1.0) * crust_HW * canvas.patches(0.6, 0.6))
    return canvas


def basal_cell_carcinoma(rng: np.random.Generator, scale: float) -> Canvas:
    """Basal cell carcinoma: pearly pink, branching vessels, blue-grey ovoid nests, ulcers; no network."""
    kind = str(rng.choice(["nodular", "pigmented", "superficial"], p=[0.42, 0.33, 0.25]))
    outline = Outline(
        radius_around(rng, 3.8),
        elongation=rng.uniform(1.0, 1.5),
        lobes=rng.uniform(0.05, 0.15),
        ragged=rng.uniform(0.05, 0.10),
        softness=rng.uniform(0.5, 1.8),
    )
    canvas = Canvas(outline, rng, scale)
    canvas.add("blood", rng.uniform(0.15, 0.5) * (1 + 0.35 * canvas.noise(1.8)))
    canvas.add("white", rng.uniform(0.05, 0.25) * (0.6 + 0.6 * canvas.patches(1.2, 0.4)))
    if chance(rng, 0.35):
        canvas.add("melanin", rng.uniform(0.1, 0.4) * canvas.patches(2.0, 0.5))
    if chance(rng, {"nodular": 0.95, "pigmented": 0.45, "superficial": 0.7}[kind]):
        strokes = []
        for _ in range(rng.integers(3, 8)):
            start = canvas.somewhere(0.4, 1.05)
            inward = np.arctan2(-start[1], -start[0]) + rng.normal(0, 0.7)
            fine = 0.07 if kind == "superficial" else rng.uniform(0.09, 0.16)
            strokes += canvas.tree(start, inward, outline.radius * rng.uniform(0.5, 1.1), fine)
        canvas.add(
            "blood",
            rng.uniform(0.6, 1.3) * blurred(drawn(canvas.shape, strokes), 0.04 * canvas.scale),
            canvas.within(1.3),
        )
    if kind == "pigmented" or chance(rng, 0.3):
        nests_HW = np.zeros(canvas.shape, np.float32)
        for _ in range(rng.integers(2, 9)):
            nest_HW = canvas.spot(
                canvas.somewhere(0.1, 0.95), rng.uniform(0.25, 0.8), rng.uniform(0.3, 0.7), 0.4
            )
            nests_HW = np.maximum(nests_HW, rng.uniform(0.5, 1) * nest_HW)
        canvas.add("deep", rng.uniform(0.6, 1.2) * nests_HW, canvas.within(1.15))
        canvas.add("melanin", rng.uniform(0.0, 0.5) * nests_HW, canvas.within(1.15))
        grains_N2 = canvas.points((5, 40), 0.2, 1)
        canvas.add("deep", canvas.dots(grains_N2, (0.05, 0.13)))
    if chance(rng, 0.4):
        for _ in range(rng.integers(1, 4)):
            ulcer_HW = canvas.spot(canvas.somewhere(0, 0.6), rng.uniform(0.25, 0.9), 0.35, 0.5)
            canvas.add("blood", rng.uniform(0.6, 1.3) * ulcer_HW)
            canvas.add("keratin", rng.uniform(0.2, 0.8) * ulcer_HW * canvas.patches(0.5, 0.5))
            canvas.add("melanin", rng.uniform(0.0, 0.7) * ulcer_HW * canvas.patches(0.6, 0.4))
    return canvas


def benign_keratosis(rng: np.random.Generator, scale: float) -> Canvas:
    """Seborrhoeic or lichenoid keratosis, solar lentigo: cysts, openings, fissures, a sharp border."""
    kind = str(rng.choice(["seborrhoeic", "lentigo", "lichenoid"], p=[0.6, 0.25, 0.15]))
    flat = kind != "seborrhoeic"
    outline = Outline(
        radius_around(rng, 4.3),
        elongation=rng.uniform(1.0, 1.7),
        lobes=rng.uniform(0.04, 0.14),
        ragged=rng.uniform(0.05, 0.10) if flat else rng.uniform(0.01, 0.05),
        softness=rng.uniform(0.2, 0.7) if flat else rng.uniform(0.08, 0.35),
    )
    canvas = Canvas(outline, rng, scale)
    brown = {"seborrhoeic": 0.42, "lentigo": 0.24, "lichenoid": 0.16}[kind] * rng.lognormal(0, 0.5)
    canvas.add("melanin", brown * (1 + 0.25 * canvas.noise(1.4)))
    canvas.add("keratin", rng.uniform(0.0, 0.35))
    canvas.add("blood", rng.uniform(0.0, 0.25))
    if kind == "lichenoid":
        canvas.add("blood", rng.uniform(0.05, 0.3) * canvas.patches(2, 0.5))
        grains_N2 = canvas.points((60, 300), 0, 0.95)
        canvas.add(
            "deep",
            rng.uniform(0.4, 1.0) * canvas.dots(grains_N2, (0.04, 0.1)),
            canvas.inside_HW * canvas.patches(1.6, 0.6),
        )
        return canvas
    if chance(rng, 0.55):
        # Ridges and fissures wind like a brain's; on a lentigo they are finer, like a fingerprint's.
        grain = rng.uniform(0.35, 0.5) if flat else rng.uniform(0.7, 1.1)
        fissure_HW = (1 - np.abs(canvas.noise(grain)) / rng.uniform(0.25, 0.5)).clip(0, 1)
        canvas.add("melanin", brown * rng.uniform(0.5, 1.8) * fissure_HW)
    if flat:
        if chance(rng, 0.3):
            canvas.reticulate(brown * rng.uniform(0.5, 1.2), 0.4)
        return canvas
    if chance(rng, 0.75):
        cysts_N2 = canvas.points((4, 28), 0, 0.9)
        cysts_HW = canvas.dots(cysts_N2, (0.07, 0.2), blur=0.06)
        canvas.layers["melanin"] *= 1 - 0.7 * cysts_HW
        canvas.add("white", rng.uniform(0.3, 0.75) * cysts_HW)
    if chance(rng, 0.65):
        openings_N2 = canvas.points((4, 30), 0, 0.92)
        openings_HW = canvas.dots(openings_N2, (0.1, 0.28), blur=0.05)
        canvas.add("melanin", rng.uniform(0.5, 1.2) * openings_HW)
        canvas.add("keratin", rng.uniform(0.2, 0.7) * openings_HW)
    if chance(rng, 0.3):
        canvas.add("melanin", rng.uniform(0.3, 1.3) * canvas.patches(2.0, 0.4))
    if chance(rng, 0.2):
        canvas.add("deep", rng.uniform(0.2, 0.6) * canvas.patches(2.0, 0.4))
    return canvas
