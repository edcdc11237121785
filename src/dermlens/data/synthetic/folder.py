"""A folder of synthetic lesions and their patients in HAM10000's layout."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dermlens.data.synthetic.canvas import FRAME_MM
from dermlens.data.synthetic.lesions import PAINTERS
from dermlens.data.synthetic.photograph import Skin, photograph
from dermlens.errors import UserError
from dermlens.files import scratch_folder, write_text
from dermlens.labels import CLASSES
from dermlens.predict.pictures.images import encoded

# Who the synthetic patients are: how many lesions of each class, ages, sexes, sites, ways of confirmation.
#
# Shares follow HAM10000's metadata, rounded (Tschandl, Rosendahl, Kittler 2018, doi 10.1038/sdata.2018.161),
# so that metadata carry about the signal they carry there.


@dataclass(frozen=True, slots=True)
class Group:
    """The patients of one class.

    Attributes:
        share: of all lesions.
        several: share of lesions with more than one picture.
        age: mean and standard deviation, years.
        male: share.
        sites: share of each of HAM10000's sites, to be divided by their sum.
        dx_type: share of each way the diagnosis was confirmed.
    """

    share: float
    several: float
    age: tuple[float, float]
    male: float
    sites: Mapping[str, float]
    dx_type: Mapping[str, float]


SITES = (
    *("abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand", "lower extremity"),
    *("neck", "scalp", "trunk", "unknown", "upper extremity"),
)


def _sites(*per_thousand: int) -> dict[str, float]:
    return dict(zip(SITES, per_thousand, strict=True))


GROUPS = {
    "akiec": Group(0.031, 0.5, (66, 11), 0.67,
        _sites(15, 1, 90, 35, 10, 345, 2, 1, 40, 200, 30, 45, 5, 10, 190), {"histo": 1}),
    "bcc": Group(0.044, 0.5, (67, 13), 0.62,
        _sites(35, 1, 330, 90, 10, 220, 8, 1, 5, 110, 30, 40, 20, 10, 95), {"histo": 1}),
    "bkl": Group(0.097, 0.5, (64, 14), 0.57,
        _sites(40, 1, 185, 65, 5, 290, 2, 2, 15, 155, 30, 30, 65, 20, 95),
        {"histo": 0.7, "consensus": 0.24, "confocal": 0.06}),
    "df": Group(0.010, 0.5, (53, 13), 0.55,
        _sites(35, 1, 20, 2, 1, 2, 15, 8, 3, 705, 2, 1, 5, 5, 205), {"histo": 0.5, "consensus": 0.5}),
    "mel": Group(0.082, 0.5, (61, 15), 0.62,
        _sites(60, 2, 290, 60, 15, 95, 25, 1, 3, 175, 25, 13, 40, 10, 190), {"histo": 1}),
    "nv": Group(0.723, 0.28, (46, 15), 0.51,
        _sites(130, 2, 212, 30, 4, 15, 42, 7, 8, 220, 12, 7, 185, 29, 98),
        {"follow_up": 0.55, "histo": 0.37, "consensus": 0.08}),
    "vasc": Group(0.013, 0.5, (51, 21), 0.49,
        _sites(190, 2, 155, 42, 2, 56, 3, 3, 35, 190, 20, 14, 215, 10, 77), {"histo": 0.5, "consensus": 0.5}),
}  # fmt: skip
"""By class; the row of sites is in the order of SITES, per thousand."""


@dataclass(frozen=True, slots=True)
class Patient:
    """One lesion and whose it is, in the words of HAM10000's CSV.

    Attributes:
        dx: class.
        pictures: how many are taken.
        age: years in steps of five, empty if missing.
        sex, site, dx_type: as in HAM10000.
    """

    dx: str
    pictures: int
    age: str
    sex: str
    site: str
    dx_type: str


def lesion_counts(lesions: int) -> dict[str, int]:
    """How many lesions of each class: HAM10000's shares, but enough of each for four roles and five folds.

    Args:
        lesions: in all.

    Returns:
        Counts that sum to `lesions`; at least 8 of each class, or a seventh where there are fewer than 56.
    """
    floor = min(8, lesions // len(CLASSES))
    counts = {dx: max(floor, round(GROUPS[dx].share * lesions)) for dx in CLASSES if dx != "nv"}
    nevi = lesions - sum(counts.values())
    # Small sets: raised rare classes may leave too few nevi; take from the largest of the others.
    while nevi < floor:
        counts[max(counts, key=lambda dx: counts[dx])] -= 1
        nevi += 1
    return {dx: counts.get(dx, nevi) for dx in CLASSES}


def draw_patient(dx: str, rng: np.random.Generator) -> Patient:
    """A patient with a lesion of class `dx`."""
    group = GROUPS[dx]
    pictures = 1 + int(rng.random() < group.several) * int(rng.choice([1, 2], p=[0.75, 0.25]))
    age = float(np.clip(5 * round(rng.normal(*group.age) / 5), 0, 85))
    sex = "male" if rng.random() < group.male else "female"
    weights = np.array(list(group.sites.values()))
    site = str(rng.choice(list(group.sites), p=weights / weights.sum()))
    dx_type = str(rng.choice(list(group.dx_type), p=list(group.dx_type.values())))
    missing_age, missing_sex = rng.random(2)
    return Patient(
        dx,
        pictures,
        "" if missing_age < 0.015 else str(age),
        "unknown" if missing_sex < 0.01 else sex,
        site,
        dx_type,
    )


METADATA = "HAM10000_metadata.csv"
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset")


def write_synthetic(
    folder: Path, *, lesions: int = 400, seed: int = 0, size: tuple[int, int] = (450, 600)
) -> Path:
    """Write pictures, masks and metadata of lesions that nobody has, laid out like HAM10000.

    The same arguments give the same bytes on one machine with the same NumPy and Pillow.

    Args:
        folder: to write to; made if it is not there.
        lesions: how many; about four pictures to three lesions.
        seed: of everything.
        size: rows and columns of a picture.

    Returns:
        The folder, with `HAM10000_metadata.csv` (eight columns), `images/<id>.jpg` and
        `masks/<id>_segmentation.png` (1 bit; the lesion is white). The metadata come last: a folder without
        them is incomplete.

    Raises:
        UserError: the folder holds a data set already, or a number is too small.
    """
    if lesions < len(CLASSES):
        raise UserError(
            f"lesions: {lesions} is too few, at least {len(CLASSES)} are needed, one of each class"
        )
    if min(size) < 48:
        raise UserError(
            f"size: {size[0]}x{size[1]} is too small, a picture needs at least 48 rows and columns"
        )
    for name in (METADATA, "images", "masks"):
        if (folder / name).exists():
            raise UserError(
                f"{folder} already has {name}: name a new folder, synthetic pictures never mix with others"
            )
    with scratch_folder(folder, "synthetic") as part:
        table = _write_lesions(part, lesions, seed, size)
        for name in ("images", "masks"):
            (part / name).replace(folder / name)
    write_text(folder / METADATA, table)
    return folder


def _write_lesions(folder: Path, lesions: int, seed: int, size: tuple[int, int]) -> str:
    """Write images and masks. Returns: the table of them."""
    for name in ("images", "masks"):
        (folder / name).mkdir()
    counts = lesion_counts(lesions)
    order = np.random.default_rng(seed).permutation([dx for dx in CLASSES for _ in range(counts[dx])])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    image = 0
    for number, dx in enumerate(order.tolist()):
        patient = draw_patient(dx, np.random.default_rng([seed, number, 0]))
        for image_HW3, mask_HW in render(dx, patient.pictures, [seed, number], size):
            image += 1
            image_id = f"SYN{seed}_{image:07d}"
            jpeg = encoded(Image.fromarray(image_HW3), "JPEG", quality=90)
            (folder / "images" / f"{image_id}.jpg").write_bytes(jpeg)
            mask = encoded(Image.fromarray(mask_HW), "PNG")
            (folder / "masks" / f"{image_id}_segmentation.png").write_bytes(mask)
            row = (
                f"SYL{seed}_{number + 1:07d}",
                image_id,
                dx,
                patient.dx_type,
                patient.age,
                patient.sex,
                patient.site,
            )
            writer.writerow((*row, "synthetic"))
    return table.getvalue()


def render(
    dx: str, pictures: int, seed: list[int], size: tuple[int, int]
) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    """Pictures of one lesion.

    Args:
        dx: its class.
        pictures: how many.
        seed: of the lesion; each picture adds its own number.
        size: rows and columns.

    Returns:
        (image_HW3, mask_HW) for each picture.
    """
    rng = np.random.default_rng([*seed, 1])
    skin = Skin.draw(rng)
    canvas = PAINTERS[dx](rng, size[0] / FRAME_MM)
    return [photograph(canvas, skin, np.random.default_rng([*seed, 2 + k]), size) for k in range(pictures)]
