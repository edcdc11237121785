"""The seven diagnoses, painted after the structures by which dermoscopy atlases tell them apart."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from dermlens.data.synthetic.canvas import Canvas, Outline, blurred, chance, drawn, radius_around


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


# Keratoses and basal cell carcinomas: what grows from the epidermis and its follicles.


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


# Dermatofibromas and vascular lesions: what grows below the epidermis.


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


# Terms and criteria: Kittler et al. 2016, Standardization of terminology in dermoscopy (doi
# 10.1016/j.jaad.2015.12.038); Zalaudek et al. 2006 for actinic keratosis (doi
# 10.1111/j.1365-2133.2006.07328.x). Each painter draws a subtype first, then keeps or drops every structure
# by chance, so that classes overlap as they do in the clinic.


Painter = Callable[[np.random.Generator, float], Canvas]

PAINTERS: dict[str, Painter] = {
    "akiec": actinic_keratosis,
    "bcc": basal_cell_carcinoma,
    "bkl": benign_keratosis,
    "df": dermatofibroma,
    "mel": melanoma,
    "nv": nevus,
    "vasc": vascular_lesion,
}
"""One painter a class: (the lesion's generator, pixels a millimetre) to a canvas."""
