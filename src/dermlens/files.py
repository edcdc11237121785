"""Files that are either whole or absent, and locks: one process works on a file at a time."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout, lock_descriptor

from dermlens.errors import UserError
from dermlens.targets import file_source, file_target, folder_target

# Each is written under the name `.<name>.part` next to its place, locked while its process lives. What a
# killed process left is therefore known, and the next that writes to the same place clears it away.


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path next to `path` that takes its name when the block ends well.

    Args:
        path: where the file shall be; its folder is made. A link stays one, and a file keeps its permissions.

    Yields:
        A path in the same folder to write to.

    Raises:
        UserError: something else than an ordinary file is there, as `file_target` says.
        OSError: as the writing raised it, the disk being full for one; nothing is left behind.
    """
    target = file_target(path)
    with _Part(target, folder=False) as part:
        yield part.path
        with part.path.open("rb") as file:
            os.fsync(file.fileno())
        if target.exists():
            part.path.chmod(stat.S_IMODE(target.stat().st_mode))
        part.move(target)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A new folder next to `path` that takes its name, and the old one's place, when the block ends well.

    All of the old folder goes, so what is to stay of it has to be copied. A process that is killed leaves the
    old folder as it was; between the two renamings at the end, which no system does as one everywhere, it is
    left as `.<name>.old.part`, and the next process that writes there puts it back.

    Args:
        path: where the folder shall be; the folder above is made. A link to a folder stays one.

    Yields:
        An empty folder to write to.

    Raises:
        UserError: something else than a folder has the name, as `folder_target` says.
        OSError: as the writing raised it; the old folder is as it was then.
    """
    target = folder_target(path)
    with _Part(target, folder=True) as part:
        old = target.with_name(f".{target.name}.old.part")
        _put_back(old, target)
        try:
            yield part.path
            if target.exists():
                target.replace(old)
            part.move(target)
        finally:
            _put_back(old, target)


@contextmanager
def scratch_folder(folder: Path, name: str) -> Iterator[Path]:
    """An empty folder `.<name>.part` in another, for what is to be moved there; it goes at the end.

    Args:
        folder: is made if need be.
        name: of the work; what a killed process left of it is cleared away.

    Raises:
        UserError: `folder` is none, as `folder_target` says.
    """
    with _Part(folder_target(folder) / name, folder=True) as part:
        yield part.path


def check_target(path: Path) -> None:
    """Make sure that a file can be written, before the work of which it is to hold the result.

    Args:
        path: where the file shall be; its folder is made.

    Raises:
        UserError: it is no ordinary file, as `file_target` says, or its folder takes no files.
    """
    target = file_target(path)
    try:
        with _Part(target, folder=False):
            pass
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


AT_ONCE = 8
"""Parts of one file or folder whose names are known, so that those of killed processes are found again."""


class _Part:
    """A new, empty file or folder next to a target, locked; it goes at the end unless it was moved.

    Attributes:
        path: `.<name>.part`; where a living process writes to that, `.<name>.2.part`, and so on.

    Args:
        target: its folder is made.
        folder: which of the two.
    """

    def __init__(self, target: Path, *, folder: bool) -> None:
        self._folder, self._moved = folder, False
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path = first = target.with_name(f".{target.name}.part")
        further = [target.with_name(f".{target.name}.{number}.part") for number in range(2, AT_ONCE + 1)]
        for left in (first, *further):
            self._clear(left)
        while (handle := self._made()) is None:
            self.path = further.pop(0) if further else first.with_suffix(f".{secrets.token_hex(4)}.part")
        self._handle = handle

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if not self._moved:
            self._remove(self.path)
        if self._handle >= 0:
            os.close(self._handle)

    def move(self, target: Path) -> None:
        """Give it its name."""
        self.path.replace(target)
        self._moved = True

    def _made(self) -> int | None:
        """An open handle with the lock, −1 for none of these on Windows; None where the name is taken."""
        try:
            if self._folder:
                self.path.mkdir()
            else:
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            return None
        if os.name != "posix":  # an open file keeps its name there
            return -1
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:  # cleared by another process, before it was locked
            return None
        ours = True
        with suppress(OSError):  # a file system without locks: it is ours by its making
            ours = lock_opened(handle)
        if not ours or not _names(self.path, handle):
            os.close(handle)
            return None
        return handle

    def _clear(self, path: Path) -> None:
        """Take away what has a name, if it is of our kind and no living process's."""
        try:
            kind = stat.S_IFMT(path.lstat().st_mode)
            if kind != (stat.S_IFDIR if self._folder else stat.S_IFREG) or os.name != "posix":
                return
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            return
        try:
            if lock_opened(handle) and _names(path, handle):
                self._remove(path)
        except OSError:  # no locks, so nobody knows
            pass
        finally:
            os.close(handle)

    def _remove(self, path: Path) -> None:
        if self._folder:
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _names(path: Path, handle: int) -> bool:
    """Whether a path still names what was opened by it."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _put_back(old: Path, target: Path) -> None:
    """An old folder gets its name again where no new one has it, and goes where one has."""
    if old.is_dir() and not target.exists():
        old.replace(target)
    shutil.rmtree(old, ignore_errors=True)


def copy_file(source: Path, path: Path) -> None:
    """Copy a file's contents so that readers see the old file or the new one."""
    with atomic_path(path) as part:
        shutil.copyfile(source, part)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text so that readers see the old file or the new one."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object. Raises: UserError when it holds anything else."""
    try:
        found = json.loads(file_source(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is not a JSON object; dermlens did not write it like this")
    return found


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, keys in the given order, one final newline; NaN is refused."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


# Locks between processes: the one place where dermlens takes one, by the library filelock.
#
# The system lets go of a lock however its process ends. The lock file goes when the lock is given back; one
# that a killed process left is empty and blocks nobody. Where a file system has no locks nothing is taken for
# locked: the command ends, unless `DERMLENS_LOCKS=soft` says to use marker files instead.


PAUSE = 0.01
"""Seconds between two tries for a lock."""

CHOICE = "DERMLENS_LOCKS"
"""Environment variable: `soft` takes marker files for locks, of file systems that have none."""

_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}


@contextmanager
def claimed(file: Path) -> Iterator[bool]:
    """Hold a lock file, made if need be with its folder, unless another process does; nobody waits.

    Args:
        file: the lock file itself; it is empty and goes with the lock.

    Yields:
        Whether it is ours.

    Raises:
        UserError: its file system has no locks.
        OSError: it cannot be made.
    """
    lock = _lock(file)
    try:
        _acquire(lock, file, timeout=0)
    except Timeout:
        yield False
        return
    with _given_back(lock):
        yield True


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Let one process at a time change a file, or one folder's contents; others wait.

    Args:
        path: what is changed, which need not exist; a link has the lock of what it leads to. The lock file is
            hidden next to it, in a folder that is made if need be.

    Raises:
        UserError: its file system has no locks.
        OSError: the lock file cannot be made.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    file = target.with_name(f".{target.name}.lock")
    lock = _lock(file)
    _acquire(lock, file, timeout=-1)
    with _given_back(lock):
        yield


def lock_opened(handle: int) -> bool:
    """Lock an open file or folder until it is closed, however its process ends; nobody waits.

    Returns:
        Whether it is ours.

    Raises:
        OSError: its file system has no locks.
    """
    return lock_descriptor(handle, blocking=False)


def _soft() -> bool:
    chosen = os.environ.get(CHOICE, "")
    if chosen not in ("", "soft"):
        raise UserError(
            f"{CHOICE} is {chosen!r}: it is unset, for the system's locks, or soft, for marker files"
        )
    return chosen == "soft"


def _marker(file: Path) -> Path:
    return file.with_name(f"{file.name}.marker")


def _lock(file: Path) -> BaseFileLock:
    return SoftFileLock(_marker(file)) if _soft() else FileLock(file, fallback_to_soft=False)


def _acquire(lock: BaseFileLock, file: Path, *, timeout: float) -> None:
    try:
        lock.acquire(timeout=timeout, poll_interval=PAUSE)
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
            raise
        raise UserError(
            f"{file}: this file system has no locks ({error.strerror}), and two processes could write over"
            f" each other: use a folder on another one, or set {CHOICE}=soft for marker files, which a killed"
            " process on another machine leaves behind"
        ) from error


@contextmanager
def _given_back(lock: BaseFileLock) -> Iterator[None]:
    """Release a lock at the end; its file goes first, so that whoever waits for it makes a new one."""
    path = Path(lock.lock_file)
    ours = path.stat().st_ino
    try:
        yield
    finally:
        try:
            if isinstance(lock, FileLock) and path.stat().st_ino == ours:
                path.unlink()
        except OSError:  # gone already; or Windows, where the library takes it away
            pass
        lock.release()


def fresh_folder(folder: Path, name: str) -> Path:
    """The first of name, name-2, name-3 … that is not taken in a folder."""
    taken = (folder / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    return next(path for path in taken if not path.exists())
