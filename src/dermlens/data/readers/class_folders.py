"""A folder per class, named after it, with its images inside."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dermlens.data.readers.columns import NAMES
from dermlens.data.readers.survey import Survey


def class_names(found: Survey) -> list[str]:
    """The names of the folders that hold images, sorted."""
    return sorted({Path(path).parent.name for paths in found.images.values() for path in paths})


def read_class_folders(found: Survey) -> pd.DataFrame:
    """One row an image, its diagnosis the name of the folder it lies in; no metadata.

    Returns:
        The frame that `read_columns` gives, sorted by path; an id that lies in two folders has two rows.
    """
    paths = sorted(path for paths in found.images.values() for path in paths)
    frame = pd.DataFrame({ours: [""] * len(paths) for ours in NAMES})
    frame["image_id"] = [Path(path).stem for path in paths]
    frame["dx"] = [Path(path).parent.name for path in paths]
    frame["where"] = [str(found.folder / Path(path).parent.name / Path(path).name) for path in paths]
    return frame
