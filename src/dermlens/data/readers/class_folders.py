"""A folder per class, named after it, with its images inside or further below."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from dermlens.predict.sources.folders import Survey


def class_names(found: Survey) -> list[str]:
    """The names of the folders that hold images, sorted."""
    return sorted(
        {found.relative(path).split("/")[-2] for path in found.paths if "/" in found.relative(path)}
    )


def read_class_folders(found: Survey, is_class: Callable[[str], bool]) -> pd.DataFrame:
    """One row an image, its diagnosis the nearest folder above it that is named after a class.

    Args:
        found: the data folder.
        is_class: whether a name is that of a class or of a diagnosis.

    Returns:
        A frame of `image_id` (the file's path below the folder), `dx` and `where`, sorted by path; where no
        folder above is a class, `dx` is the folder that the image lies in.
    """
    rows = []
    for path in found.paths:
        relative = found.relative(path)
        folders = relative.split("/")[:-1]
        dx = next((name for name in reversed(folders) if is_class(name)), folders[-1] if folders else "")
        rows.append((relative, dx, str(found.folder / relative)))
    return pd.DataFrame(rows, columns=["image_id", "dx", "where"])
