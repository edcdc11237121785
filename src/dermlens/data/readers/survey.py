"""What lies in a data folder: images, lesion masks and tables, each directory listed once.

Names are kept in Unicode's composed form (NFC): a Mac writes `ü` in two characters, a table in one.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path

from dermlens.errors import UserError

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".dcm", ".dicom",
)  # fmt: skip
PICTURE_SUFFIXES = (
    ".heic",
    ".heif",
    ".gif",
    ".avif",
    ".jp2",
    ".jxl",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".dng",
    ".psd",
)
"""Pictures that no reader here takes."""
TABLE_SUFFIXES = (".csv", ".tab", ".tsv", ".xlsx", ".xlsm", ".xls", ".ods")
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
        images: paths by stem, the file's name without its suffix; more than one where several files have it.
        masks: paths of lesion masks by the stem of their image.
        tables: files that may be the table, nearest to the top first.
        others: paths of the files that are none of these by their names, those in folders of masks left out.
        outside: links that lead out of the folder, to files or folders.
    """

    folder: Path
    images: dict[str, list[str]] = field(default_factory=dict)
    masks: dict[str, list[str]] = field(default_factory=dict)
    tables: list[Path] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    @cached_property
    def root(self) -> str:
        """The folder, absolute."""
        return os.path.abspath(self.folder)  # noqa: PTH100  # not resolve(): links stay as the user laid them

    @property
    def paths(self) -> list[str]:
        """Paths of all images, sorted."""
        return sorted(path for paths in self.images.values() for path in paths)

    def relative(self, path: str) -> str:
        """Where a file lies below the folder, with forward slashes, in composed form."""
        above = os.path.join(self.root, "")  # noqa: PTH118
        return normal(
            path.removeprefix(above) if path.startswith(above) else os.path.relpath(path, self.root)
        )

    def mask(self, path: str) -> str | None:
        """The lesion mask of an image: the one of its name; of several, the one that lies nearest to it."""
        stem, _ = split_name(normal(os.path.basename(path)))  # noqa: PTH119
        masks = self.masks.get(stem, [])
        if len(masks) < 2 and len(self.images.get(stem, [])) < 2:
            return masks[0] if masks else None
        folder = os.path.dirname(path)  # noqa: PTH120
        beside = [mask for mask in masks if folder in (os.path.dirname(mask), str(Path(mask).parents[1]))]  # noqa: PTH120
        return beside[0] if len(beside) == 1 else None

    def take_dicom(self) -> None:
        """Count files as images that have no image's suffix and begin as DICOM: archives give them no
        suffix.
        """
        for path in self.others:
            if begins_as_dicom(Path(path)):
                self.images.setdefault(normal(Path(path).name), []).append(path)
        images = set(self.paths)
        self.others = [path for path in self.others if path not in images]


def is_table_name(name: str) -> bool:
    """Whether a file may be a table, by its name; `~$` begins that of one which is open in Excel."""
    return not name.startswith("~$") and (name.lower().endswith(TABLE_SUFFIXES) or name in TABLE_NAMES)


def normal(name: str) -> str:
    """A name or a path as it is compared: composed (NFC), with forward slashes."""
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def split_name(name: str) -> tuple[str, str]:
    """A file's name without its suffix, and the suffix in lower case if it is an image's; else empty."""
    stem, dot, suffix = name.rpartition(".")
    found = f".{suffix.lower()}"
    return (stem, found) if dot and stem and found in IMAGE_SUFFIXES else (name, "")


def image_id_of(name: str) -> str:
    """The id in a file's name or in a table's cell: without folders and without an image's suffix."""
    return split_name(normal(name).rpartition("/")[2])[0]


def begins_as_dicom(file: Path) -> bool:
    """Whether a file begins as DICOM's do (PS3.10, 7.1)."""
    if file.name == "DICOMDIR" or not file.is_file():  # the index of such an archive; a pipe, a device
        return False
    try:
        with file.open("rb") as opened:
            return opened.read(132)[128:] == b"DICM"
    except OSError:
        return False


def survey(folder: Path, depth: int | None = DEPTH, *, follow_out: bool = True) -> Survey:
    """List a data folder and those within it, each once, without a look at any file.

    Hidden files and folders are left out, and `__MACOSX`, which archives made on a Mac carry.

    Args:
        folder: an existing folder.
        depth: how many folders below it; none for all there are.
        follow_out: whether links that lead out of the folder are followed, too. A data set's table says which
            images are its own; a folder by itself does not.

    Raises:
        UserError: a folder may not be read.
    """
    found = Survey(folder)
    root = Path(found.root)
    level = [root]
    listed: set[str] = set()  # a link may lead back to where one came from
    for _ in count() if depth is None else range(depth + 1):
        below: list[Path] = []
        for place in level:
            if (real := os.path.realpath(place)) not in listed:
                listed.add(real)
                below += _list(place, found, folder / place.relative_to(root), follow_out=follow_out)
        if not (level := below):
            break
    return found


def _list(place: Path, found: Survey, shown: Path, *, follow_out: bool) -> list[Path]:
    """Add one directory's files; return its folders."""
    try:
        with os.scandir(place) as entries:
            listed = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
    except PermissionError as error:
        raise UserError(f"folder {shown} may not be read: {error.strerror}") from error
    folders = []
    of_masks = place.name in MASK_FOLDERS
    prefix = f"{place}{os.sep}"
    inside = os.path.realpath(found.folder)
    for name, is_folder, is_link in listed:
        if name.startswith((".", "__MACOSX")):
            continue
        if is_link and not Path(os.path.realpath(prefix + name)).is_relative_to(inside):
            found.outside.append(prefix + name)
            if not follow_out:
                continue
        if is_folder:
            folders.append(place / name)
            continue
        stem, suffix = split_name(normal(name))
        if suffix:
            if of_masks or stem.endswith(MASK_ENDING):
                found.masks.setdefault(stem.removesuffix(MASK_ENDING), []).append(prefix + name)
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
