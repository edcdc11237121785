"""A sheet of synthetic lesions to look at.

    python benchmarks/synthetic_sheet.py

Replaces docs/images/synthetic_lesions.png.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from dermlens.data.synthetic.folder import render
from dermlens.files import atomic_path
from dermlens.labels import CLASSES
from dermlens.predict.pictures.images import encoded


def contact_sheet(path: Path, *, columns: int = 8, seed: int = 0, size: tuple[int, int] = (99, 132)) -> Path:
    """A picture with one row of lesions for each class, named at the left.

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
        part.write_bytes(encoded(sheet.quantize(palette=palette), "PNG", optimize=True))
    return path


if __name__ == "__main__":
    print(contact_sheet(Path(__file__).parents[1] / "docs" / "images" / "synthetic_lesions.png"))
