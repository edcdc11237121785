"""Which file a table means, and what its image is called.

A path in a table counts: `visit2/000.bmp` is the file in `visit2`. Where several files have one name and the
table states no folder, they must be equal, byte by byte. An image is called by its file's name without suffix
and, where different files share that, by its path below the data folder: `visit2/000`.
"""

from __future__ import annotations

import filecmp
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from dermlens.data.problems import Problems
from dermlens.data.readers.survey import Survey, normal, split_name


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


def locate(cells: Sequence[str], where: Sequence[str], found: Survey, problems: Problems) -> Located:
    """Find the file of each row.

    Args:
        cells: what the table calls its images: names or paths, with or without suffix.
        where: file and row of each.
        found: the data folder.
        problems: takes what is ambiguous: different files of one name, and a table that does not say which.
    """
    wanted = [_Wanted.of(cell) for cell in cells]
    if found.others and any(one.stem not in found.images for one in wanted):
        found.take_dicom()
    index = _Index(found)
    alone = Counter(one.stem for one in wanted)
    paths: list[str | None] = []
    by_name: Counter[tuple[str, str]] = Counter()
    for one, row in zip(wanted, where, strict=True):
        files = index.files(one.stem)
        fit = _fit(one, files)
        if not fit and len(files) == 1 and alone[one.stem] == 1 and not index.has_folder(one.folders[-1]):
            fit = files  # the folder of another machine: the name decides, and that is said
            by_name["/".join(one.folders), files[0].folder or "."] += 1
        if len(fit) > 1 and not _all_equal(fit):
            listed = ", ".join(one.path for one in fit)
            problems.add(
                f"image {one.stem} has files that differ: {listed}; keep one of them, or state its "
                "folder in the "
                "table",
                row,
            )
        paths.append(fit[0].path if fit else None)
    return Located(_ids(wanted, paths, index), paths, by_name)


def file_ids(paths: Sequence[str], root: str) -> list[str]:
    """What images are called, by their files alone: by name or, where names collide, by path.

    Args:
        paths: absolute, each once.
        root: the folder that paths are told from.
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

    def name(self, path: str) -> str:
        """A path below the data folder, without suffix."""
        return split_name(self._found.relative(path))[0]

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
    return [
        one.stem
        if one.stem not in by_path
        else index.name(path)
        if path
        else "/".join((*one.folders, one.stem))
        for one, path in zip(wanted, paths, strict=True)
    ]
