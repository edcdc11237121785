"""What lies in a data folder: images, lesion masks and tables, each directory listed once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from dermlens.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm")
TABLE_SUFFIXES = (".csv", ".tab", ".tsv")
TABLE_NAMES = ("HAM10000_metadata",)
"""Harvard Dataverse has handed out the table under this name, without a suffix."""
MASK_FOLDERS = ("masks", "HAM10000_segmentations_lesion_tschandl")
MASK_ENDING = "_segmentation"
DEPTH = 3
"""Folders below a data folder; PAD-UFES-20 has images/imgs_part_1/imgs_part_1."""


@dataclass
class Survey:
    """The files of a data folder.

    Attributes:
        folder: the folder, as it was named.
        images: paths by image id, which is the file's name without its suffix; more than one where an id
            lies in several folders.
        masks: path of the lesion mask by image id.
        tables: files that may be the table, nearest to the top first.
        others: paths of the files that are none of these by their names, those in folders of masks left out.
    """

    folder: Path
    images: dict[str, list[str]] = field(default_factory=dict)
    masks: dict[str, str] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def image(self, image_id: str) -> str | None:
        """The path of an image, or None.

        Raises:
            UserError: the id has several files, of different sizes: which one is meant cannot be known.
        """
        paths = self.images.get(image_id)
        if paths is None:
            return None
        if len(paths) > 1 and len({os.stat(path).st_size for path in paths}) > 1:  # noqa: PTH116
            raise UserError(f"image {image_id} has files that differ: {', '.join(paths)}; keep one of them")
        return paths[0]


def is_table_name(name: str) -> bool:
    """Whether a file may be a table, by its name."""
    return name.lower().endswith(TABLE_SUFFIXES) or name in TABLE_NAMES


def image_id_of(name: str) -> str:
    """The id in a file's name or in a table's cell: without folders and without an image's suffix."""
    name = name.replace("\\", "/").rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def survey(folder: Path, depth: int | None = DEPTH) -> Survey:
    """List a data folder and those within it, each once, without a look at any file.

    Hidden files and folders are left out, and `__MACOSX`, which archives made on a Mac carry.

    Args:
        folder: an existing folder.
        depth: how many folders below it; none for all there are.

    Raises:
        UserError: a folder may not be read.
    """
    found = Survey(folder)
    level = [Path(os.path.abspath(folder))]  # noqa: PTH100  # not resolve(): links stay as the user laid them
    root = level[0]
    listed: set[str] = set()  # a link may lead back to where one came from
    for _ in count() if depth is None else range(depth + 1):
        below: list[Path] = []
        for place in level:
            if (real := os.path.realpath(place)) not in listed:
                listed.add(real)
                below += _list(place, found, folder / place.relative_to(root))
        if not (level := below):
            break
    return found


def _list(place: Path, found: Survey, shown: Path) -> list[Path]:
    """Add one directory's files; return its folders."""
    try:
        with os.scandir(place) as entries:
            listed = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except PermissionError as error:
        raise UserError(f"folder {shown} may not be read: {error.strerror}") from error
    folders = []
    of_masks = place.name in MASK_FOLDERS
    prefix = f"{place}{os.sep}"
    for name, is_folder in listed:
        if name.startswith((".", "__MACOSX")):
            continue
        if is_folder:
            folders.append(place / name)
            continue
        stem, _, suffix = name.rpartition(".")
        suffix = f".{suffix.lower()}"
        if suffix in IMAGE_SUFFIXES:
            if of_masks or stem.endswith(MASK_ENDING):
                found.masks.setdefault(stem.removesuffix(MASK_ENDING), prefix + name)
            else:
                found.images.setdefault(stem, []).append(prefix + name)
        elif is_table_name(name):
            found.tables.append(shown / name)
        elif not of_masks:
            found.others.append(prefix + name)
    return folders


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
