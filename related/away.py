"""The systems on the images of other clinics, which took no part in anything here.

Each image is asked of one network of the five: that of the fold which its lesion id gives. So a number is of
single networks, as at home, and all systems answer for the same images. Classes that a source lacks are named
all the same, as a clinic would see it; means over classes are of those that the source has.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import pandas as pd

from dermlens.data.config import DataConfig
from dermlens.data.table import read_configured
from dermlens.errors import UserError
from dermlens.studies.folds import write_arm, write_images
from related.publication import arm_of, read_arms
from related.study import Study, System

FOLDER = "away"
HOME = "home"
PLACES = {
    HOME: "at home, HAM10000",
    "milk10k": "MILK10k, other clinics and cameras",
    "isic2017": "ISIC 2017, other clinics",
}
"""In words."""
SOURCES = {
    "milk10k": DataConfig(folders=("milk10k",), skip=("other",)),
    "isic2017": DataConfig(folders=("isic2017",), squashed={"isic2017": (4, 3)}),
}
"""Those of the protocol `sources`, and how they are read. None of MILK10k's lesions is in HAM10000."""


def read_away(data: Path, source: str, folds: int) -> pd.DataFrame:
    """The images of a source by image id, each with the fold whose network is asked.

    Args:
        data: the folder that holds the folder of the source.
        source: a key of SOURCES.
        folds: how many networks there are.

    Raises:
        UserError: the source is not known, or not there.
    """
    if source not in SOURCES:
        raise UserError(f"--source {source} is not known; known: {', '.join(SOURCES)}")
    table = read_configured(data, SOURCES[source]).sort_values("image_id", ignore_index=True)
    return table.assign(fold=[fold_of(lesion, folds) for lesion in table["lesion_id"]])


def fold_of(lesion_id: str, folds: int) -> int:
    """The same for all images of a lesion, on every machine."""
    return zlib.crc32(str(lesion_id).encode()) % folds


def publish_away(results: Path, source: str, system: System, seed: int, table: pd.DataFrame) -> None:
    """Write what a system says of the images of a source.

    Args:
        results: the folder of what is published.
        source: of the images.
        system: which.
        seed: of its training.
        table: predictions by image id, with `fold`.
    """
    folder = results / FOLDER / source
    folder.mkdir(parents=True, exist_ok=True)
    write_images(folder, table)
    write_arm(folder, arm_of(system, seed), table)


def read_published_away(study: Study, results: Path, source: str) -> dict[str, list[pd.DataFrame]]:
    """As `read_published`, of the images of a source; empty where none were scored."""
    return read_arms(study.systems.values(), results / FOLDER / source)
