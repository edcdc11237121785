"""What lies in a data folder, which file a table means, and what its image is called."""

from __future__ import annotations

import filecmp
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path

from dermlens.errors import UserError
from dermlens.predict.sources.tables import Problems

# What lies in a data folder: images, lesion masks and tables, each directory listed once.
#
# Names are kept in Unicode's composed form (NFC): a Mac writes `ü` in two characters, a table in one.


IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".dib", ".webp", ".dcm", ".dicom",
)  # fmt: skip
PICTURE_SUFFIXES = (
    ".heic", ".heif", ".gif", ".avif", ".jp2", ".jxl", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".psd",
)  # fmt: skip
"""Pictures that no reader here takes."""
TABLE_SUFFIXES = (".csv", ".tab", ".tsv", ".xlsx", ".xlsm", ".xls", ".ods")
TABLE_NAMES = ("HAM10000_metadata",)
"""Harvard Dataverse has handed out the table under this name, without a suffix."""
MASK_FOLDERS = ("masks", "HAM10000_segmentations_lesion_tschandl")
MASK_ENDING = "_segmentation"
MAP_ENDING = "_superpixels"
"""Of the maps that ISIC 2017 has beside its images; they are nobody's mask."""
NOBODYS = frozenset({"@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"})
"""Folders that machines make: of thumbnails, and of what was deleted."""
DEPTH = 3
"""Folders below a data folder; PAD-UFES-20 has images/imgs_part_1/imgs_part_1."""
FOLLOW = "DERMLENS_FOLLOW_LINKS"
"""Environment variable: `1` follows links that lead out of a data set's folder."""


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
    def left_out(self) -> str:
        """The sentence on links that lead out of the folder; empty where there are none, or all count."""
        if not self.outside or _follows():
            return ""
        return (
            f"left out: {len(self.outside)} links that lead out of {self.folder}, {self.outside[0]} first;"
            f" name what they lead to, or set {FOLLOW}=1 to follow them"
        )

    @property
    def not_followed(self) -> str:
        """The same, as the end of an error."""
        return self.left_out and f"; {self.left_out}"

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
        matching = [mask for mask in masks if folder in (os.path.dirname(mask), str(Path(mask).parents[1]))]  # noqa: PTH120
        return matching[0] if len(matching) == 1 else None

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
    slashed = name.replace("\\", "/")
    return slashed if slashed.isascii() else unicodedata.normalize("NFC", slashed)


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


def may_be_dicom(path: str) -> bool:
    """Whether a file is DICOM, by its suffix, which may be missing, and by how it begins."""
    return split_name(path)[1] in ("", ".dcm", ".dicom") and begins_as_dicom(Path(path))


def _follows() -> bool:
    chosen = os.environ.get(FOLLOW, "")
    if chosen not in ("", "0", "1"):
        raise UserError(f"{FOLLOW} is {chosen!r}: it is unset or 0, or 1 to follow links out of a data set")
    return chosen == "1"


@contextmanager
def links_followed() -> Iterator[None]:
    """Follow links out of data sets in a block, in the processes that it begins too: links of our own."""
    before = os.environ.get(FOLLOW)
    os.environ[FOLLOW] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FOLLOW]
        else:
            os.environ[FOLLOW] = before


def survey(folder: Path, depth: int | None = DEPTH) -> Survey:
    """List a data folder and those within it, each once, without a look at any file.

    Hidden files and folders are left out, `__MACOSX`, which archives made on a Mac carry, and other folders
    that machines make. Links that lead out of the folder are named and not followed, unless
    `DERMLENS_FOLLOW_LINKS` says so: a data set that was unpacked from an archive could name any file of the
    machine.

    Args:
        folder: an existing folder.
        depth: how many folders below it; none for all there are.

    Raises:
        UserError: a folder may not be read.
    """
    found, follow = Survey(folder), _follows()
    root = Path(found.root)
    level = [root]
    listed: set[str] = set()  # a link may lead back to where one came from
    for _ in count() if depth is None else range(depth + 1):
        below: list[Path] = []
        for place in level:
            if (real := os.path.realpath(place)) not in listed:
                listed.add(real)
                below += _list(place, found, folder / place.relative_to(root), follow=follow)
        if not (level := below):
            break
    return found


def _list(place: Path, found: Survey, shown: Path, *, follow: bool) -> list[Path]:
    """Add one directory's files; return its folders."""
    try:
        with os.scandir(place) as entries:
            listed = sorted((entry.name, *_kind(entry), entry.is_symlink()) for entry in entries)
    except PermissionError as error:
        raise UserError(f"folder {shown} may not be read: {error.strerror}") from error
    folders = []
    of_masks = place.name in MASK_FOLDERS
    prefix = f"{place}{os.sep}"
    inside = os.path.realpath(found.folder)
    for name, is_folder, is_else, is_link in listed:
        if name.startswith((".", "__MACOSX")) or name.casefold() in NOBODYS:
            continue
        if is_link and not Path(os.path.realpath(prefix + name)).is_relative_to(inside):
            found.outside.append(prefix + name)
            if not follow:
                continue
        if is_folder:
            folders.append(place / name)
            continue
        stem, suffix = split_name(normal(name))
        if suffix:
            if of_masks or stem.endswith((MASK_ENDING, MAP_ENDING)):
                found.masks.setdefault(stem.removesuffix(MASK_ENDING), []).append(prefix + name)
            else:
                found.images.setdefault(stem, []).append(prefix + name)
        elif is_table_name(name) and not is_else and not of_masks:
            found.tables.append(shown / name)
        elif not of_masks:
            found.others.append(prefix + name)
    return folders


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Whether it is a folder, and whether neither that nor a file: a pipe would be waited for in vain."""
    try:
        return entry.is_dir(), not (entry.is_dir() or entry.is_file())
    except OSError:  # a link to itself
        return False, True


# A path in a table counts: `visit2/000.bmp` is the file in `visit2`. Where several files have one name and
# the table states no folder, they must be equal, byte by byte. An image is called by its file's name without
# suffix and, where different files share that, by its path below the data folder: `visit2/000`, with suffix
# where that tells two files apart.


@dataclass(frozen=True)
class Located:
    """The images of a table.

    Attributes:
        ids: of each row; unique where the rows mean different files.
        paths: of each row, absolute; None where the file is not there.
        by_name: how many files were taken by their names, in spite of the folder that the table states, by
            (folder stated, folder where the file lies).
    """

    ids: list[str]
    paths: list[str | None]
    by_name: Counter[tuple[str, str]] = field(default_factory=Counter)


def locate(
    cells: Sequence[str], where: Sequence[str], found: Survey, problems: Problems, *, mend: str = ""
) -> Located:
    """Find the file of each row.

    Args:
        cells: what the table calls its images: names or paths, with or without suffix.
        where: file and row of each.
        found: the data folder.
        problems: takes what is ambiguous: different files of one name, and a table that does not say which.
            The row has no id then.
        mend: the option that says which.
    """
    wanted = [_Wanted.of(cell) for cell in cells]
    if found.others and any(one.stem not in found.images for one in wanted):
        found.take_dicom()
    index = _Index(found)
    alone = Counter(one.stem for one in wanted)
    paths: list[str | None] = []
    by_name: Counter[tuple[str, str]] = Counter()
    unclear: set[int] = set()
    for one, row in zip(wanted, where, strict=True):
        files = index.files(one.stem)
        fit = _fit(one, files)
        if not fit and len(files) == 1 and alone[one.stem] == 1 and not index.has_folder(one.folders[-1]):
            fit = files  # the folder of another machine: the name decides, with a note
            by_name["/".join(one.folders), files[0].folder or "."] += 1
        if len(fit) > 1 and not _all_equal(fit):
            listed = ", ".join(one.path for one in fit)
            problems.add(
                f"image {one.stem} has files that differ: {listed}; keep one of them, or state its "
                "folder in the "
                "table",
                row,
                mend,
            )
            unclear.add(len(paths))
        paths.append(fit[0].path if fit else None)
    ids = ["" if at in unclear else one for at, one in enumerate(_ids(wanted, paths, index))]
    return Located(ids, paths, by_name)


def file_ids(paths: Sequence[str], root: str) -> list[str]:
    """What images are called, by their files alone: by name or, where names collide, by path.

    Args:
        paths: absolute, each once.
        root: the folder that paths are relative to.
    """
    stems = [split_name(normal(os.path.basename(path)))[0] for path in paths]  # noqa: PTH119
    several = Counter(stems)
    relative = [split_name(normal(os.path.relpath(path, root))) for path in paths]
    again = Counter(stem for stem, _ in relative)
    return [
        stem if several[stem] == 1 else inner if again[inner] == 1 else inner + suffix
        for stem, (inner, suffix) in zip(stems, relative, strict=True)
    ]


@dataclass(frozen=True)
class _Wanted:
    """A table's cell: the folders that it states, the name, and the suffix if it is an image's."""

    folders: tuple[str, ...]
    stem: str
    suffix: str

    @classmethod
    def of(cls, cell: str) -> _Wanted:
        *folders, name = normal(cell).split("/")
        stem, suffix = split_name(name)
        return cls(tuple(part for part in folders if part not in ("", ".", "..")), stem, suffix)


@dataclass(frozen=True)
class _File:
    path: str
    above: tuple[str, ...]
    within: tuple[str, ...]
    suffix: str

    @property
    def folder(self) -> str:
        return "/".join(self.within)


class _Index:
    """The images of a survey by their stems, in any case where the very name is not there."""

    def __init__(self, found: Survey) -> None:
        self._found = found
        self._above = tuple(normal(found.root).strip("/").split("/"))
        self._known: dict[str, list[_File]] = {}
        self._folded: dict[str, list[str]] = defaultdict(list)
        for stem in found.images:
            self._folded[stem.casefold()].append(stem)
        self._folders: set[str] | None = None

    def files(self, stem: str) -> list[_File]:
        """The files of that name."""
        if stem not in self._found.images:
            others = self._folded.get(stem.casefold(), [])
            if len(others) != 1:
                return []
            stem = others[0]
        if stem not in self._known:
            self._known[stem] = [self._file(path) for path in self._found.images[stem]]
        return self._known[stem]

    def has_folder(self, name: str) -> bool:
        """Whether images lie in or below a folder of that name."""
        if self._folders is None:
            self._folders = {
                part for path in self._found.paths for part in self._found.relative(path).split("/")[:-1]
            }
        return name in self._folders

    def relative(self, path: str) -> str:
        """A path below the data folder."""
        return self._found.relative(path)

    def _file(self, path: str) -> _File:
        *within, name = self._found.relative(path).split("/")
        return _File(path, (*self._above, *within), tuple(within), split_name(name)[1])


def _fit(one: _Wanted, files: Sequence[_File]) -> list[_File]:
    """The files that a cell can mean: of its suffix, if there are such, and in the folder that it states."""
    if one.suffix and any(file.suffix == one.suffix for file in files):
        files = [file for file in files if file.suffix == one.suffix]
    if not one.folders:
        return list(files)
    folders = [part.casefold() for part in one.folders]

    def ends(long: Sequence[str], short: Sequence[str]) -> bool:
        return not short or [part.casefold() for part in long[-len(short) :]] == list(short)

    stated = [file for file in files if ends(file.above, folders)]
    if stated:
        return stated
    # The table was written elsewhere: all folders of the file must be the last ones that it states.
    return [file for file in files if file.within and ends(one.folders, [p.casefold() for p in file.within])]


def _all_equal(files: Sequence[_File]) -> bool:
    """Whether files have the same bytes; their sizes alone tell nothing."""
    first, *others = (file.path for file in files)
    return all(filecmp.cmp(first, other, shallow=False) for other in others)


def _ids(wanted: Sequence[_Wanted], paths: Sequence[str | None], index: _Index) -> list[str]:
    """By name; by path where rows of one name mean different files, or another file has the name too."""
    files: dict[str, set[str]] = defaultdict(set)
    for one, path in zip(wanted, paths, strict=True):
        files[one.stem].add(path or "/".join((*one.folders, one.stem)))
    by_path = {
        stem
        for stem, meant in files.items()
        if len(meant) > 1 or (len(index.files(stem)) > 1 and not _all_equal(index.files(stem)))
    }
    inner = {path: split_name(index.relative(path)) for path in paths if path}
    again = Counter(stem for stem, _ in inner.values())
    return [
        one.stem
        if one.stem not in by_path
        else "/".join((*one.folders, one.stem))
        if path is None
        else "".join(inner[path][: 2 if again[inner[path][0]] > 1 else 1])
        for one, path in zip(wanted, paths, strict=True)
    ]
