"""A folder of synthetic lesions in HAM10000's layout, and a sheet to look at them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dermlens.atomic import atomic_path, write_text
from dermlens.data.synthetic.canvas import FRAME_MM
from dermlens.data.synthetic.lesions import PAINTERS
from dermlens.data.synthetic.patients import draw_patient, lesion_counts
from dermlens.data.synthetic.photograph import Skin, photograph
from dermlens.errors import UserError
from dermlens.labels import CLASSES

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
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
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
            Image.fromarray(image_HW3).save(folder / "images" / f"{image_id}.jpg", quality=90)
            Image.fromarray(mask_HW).save(folder / "masks" / f"{image_id}_segmentation.png")
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
    write_text(folder / METADATA, table.getvalue())
    return folder


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


def contact_sheet(path: Path, *, columns: int = 8, seed: int = 0, size: tuple[int, int] = (99, 132)) -> Path:
    """A picture with one row of lesions for each class, named at the left, as in docs/images.

        from dermlens.data.synthetic import contact_sheet
        contact_sheet(Path("docs/images/synthetic_lesions.png"))

    Args:
        path: PNG to write, in 256 colours.
        columns: lesions of each class.
        seed: of the lesions.
        size: rows and columns of one picture on the sheet; it is rendered at three times that.

    Returns:
        The path.
    """
    rows, width = size
    left, gap = 40, 3
    sheet = Image.new("RGB", (left + columns * (width + gap), len(CLASSES) * (rows + gap)), "white")
    pen = ImageDraw.Draw(sheet)
    for r, dx in enumerate(CLASSES):
        y = r * (rows + gap)
        pen.text((4, y + rows / 2 - 6), dx, "black")
        for c in range(columns):
            [(image_HW3, _)] = render(dx, 1, [seed, r, c], (3 * rows, 3 * width))
            sheet.paste(Image.fromarray(image_HW3).reduce(3), (left + c * (width + gap), y))
    with atomic_path(path) as part:
        palette = sheet.quantize(256, kmeans=2)
        sheet.quantize(palette=palette).save(part, "PNG", optimize=True)
    return path
