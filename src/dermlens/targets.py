"""What a command may write to: the one place that decides it, for every option of every verb.

A file is written by giving a new file its name. That would put a file in the place of a device, a pipe or a
link, which on /dev/null, done by root, breaks the machine. So these are refused, and links are followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from dermlens.errors import UserError

MOST_LINKS = 40
"""Links of links; more are a circle, as Linux counts too."""

_SYSTEM = {"dev", "proc", "sys"}
"""Folders of the root whose files are the system itself; /dev/shm in it holds ordinary ones."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def file_target(path: Path) -> Path:
    """The ordinary file that a path stands for, there already or not; nothing is made.

    Args:
        path: as the user gave it; links are followed, so that they stay links.

    Returns:
        Its absolute path, without links.

    Raises:
        UserError: it is, or a link leads to, a folder, a device, a pipe, a socket, a file of the system or
            one that is write-protected; or a link leads into a folder that does not exist, or in a circle.
    """
    target, shown = _followed(path)
    kind = _kind(target, shown)
    if kind is not None and kind != stat.S_IFREG:
        raise UserError(f"{shown} is {_KINDS.get(kind, 'no ordinary file')}: name a file to write")
    if kind is not None and not os.access(target, os.W_OK):
        raise UserError(f"{shown} is write-protected: name another file, or allow writing to it")
    return target


def file_source(path: Path) -> Path:
    """A file, or a pipe, that is read to its end. Raises: UserError: it is a device, which may have none."""
    try:
        mode = path.stat().st_mode
    except OSError:  # whoever opens it says so
        return path
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        raise UserError(f"{path} is a device: name a file to read")
    return path


def folder_target(path: Path) -> Path:
    """The folder that a path stands for, there already or not; nothing is made.

    Args:
        path: as the user gave it; links are followed, so that they stay links.

    Returns:
        Its absolute path, without links.

    Raises:
        UserError: it is, or a link leads to, anything but a folder, a folder of the system, or nothing; or
            links lead in a circle.
    """
    target, shown = _followed(path)
    kind = _kind(target, shown)
    if kind is not None and kind != stat.S_IFDIR:
        raise UserError(f"{shown} is {_KINDS.get(kind, 'a file')}: name a folder to write to")
    return target


def check_apart(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write a result over what it is made of: a picture, a table of patients.

    Args:
        path: of the result; a link counts as what it leads to.
        inputs: files that are read.

    Raises:
        UserError: it is one of them, or as `file_target` says.
    """
    target = file_target(path)
    if target.exists() and any(one.resolve() == target for one in inputs):
        raise UserError(f"{path} is read by this command, and would be written over: name another file")


def _followed(path: Path) -> tuple[Path, str]:
    """Where a path leads, and how an error names it."""
    place, shown = Path.cwd() / path, str(path)
    for _ in range(MOST_LINKS):
        place = place.resolve() if place.name == ".." else place.parent.resolve() / place.name
        _check_outside_system(place, shown)
        if not place.is_symlink():
            return place, shown
        place = place.parent / place.readlink()
        shown = f"{path} leads to {place}, which"
        if not place.parent.is_dir():
            raise UserError(f"{path} is a link to {place}, whose folder does not exist: make the folder")
    raise UserError(f"{path} is a link that leads in a circle: name another place to write to")


def _check_outside_system(place: Path, shown: str) -> None:
    parts = place.parts
    if os.name == "posix" and len(parts) > 1 and parts[1] in _SYSTEM and parts[1:3] != ("dev", "shm"):
        raise UserError(f"{shown} is a device, or a file of the system: name another place to write to")


def _kind(target: Path, shown: str) -> int | None:
    """The type bits of what is there; none where there is nothing."""
    try:
        return stat.S_IFMT(target.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{shown} cannot be looked at: {error.strerror}") from error
