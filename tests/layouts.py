"""A small table in HAM10000's form, and the folders it may lie in."""

from __future__ import annotations

import csv
import io
from pathlib import Path

HEADER = ["lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"]
ROWS = [
    ["HAM_0000118", "ISIC_0027419", "bkl", "histo", "80.0", "male", "scalp"],
    ["HAM_0000118", "ISIC_0025030", "bkl", "histo", "80.0", "male", "scalp"],
    ["HAM_0002730", "ISIC_0026769", "nv", "follow_up", "", "female", "unknown"],
    ["HAM_0000003", "ISIC_0030000", "mel", "consensus", "0.0", "unknown", "acral"],
    ["HAM_0000004", "ISIC_0030001", "vasc", "confocal", "45", "female", "lower extremity"],
]
IDS = [row[1] for row in ROWS]


def written(
    path: Path, rows: list[list[str]] = ROWS, header: list[str] = HEADER, delimiter: str = ","
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter).writerows([header, *rows])
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def images(folder: Path, ids: list[str], suffix: str = ".jpg") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image_id in ids:
        (folder / f"{image_id}{suffix}").write_bytes(b"not read here")


def one_folder(root: Path) -> Path:
    images(root / "images", IDS)
    written(root / "HAM10000_metadata.csv")
    return root
