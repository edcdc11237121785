"""Locks between processes: the one place where dermlens takes one, by the library filelock.

The system lets go of a lock however its process ends. The lock file goes when the lock is given back; one
that a killed process left is empty and blocks nobody. Where a file system has no locks nothing is taken for
locked: the command ends, unless `DERMLENS_LOCKS=soft` says to use marker files instead.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout, lock_descriptor

from dermlens.errors import UserError

ATTEMPTS, PAUSE = 5, 0.01
"""How often, and every how many seconds, a lock is tried for: `is_claimed` may hold one for an instant."""

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
        _acquire(lock, file, timeout=ATTEMPTS * PAUSE)
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
            hidden beside it, in a folder that is made if need be.

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


def is_claimed(file: Path) -> bool:
    """Whether a process holds a lock file now; asking makes no file and waits for nobody.

    A process must not ask of what it holds itself: on some network file systems it would let go.

    Returns:
        False too where there is no such file, or there are no such locks, so that nobody can hold one.
    """
    if _soft():
        return _marker(file).exists()
    for left in reversed(range(ATTEMPTS)):
        try:
            with file.open("rb") as asked:
                if lock_opened(asked.fileno()):
                    return False
        except OSError:
            return False
        if left:  # another may ask at the same instant
            time.sleep(PAUSE)
    return True


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
