"""One process works on a folder: a second would write over what the first does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dermlens.errors import UserError
from dermlens.runs import Run
from dermlens.training import processes

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
TRIES = 5
PAUSE = 0.01
"""Seconds between tries: `is_claimed` may hold the file for an instant, which is no claim."""


@contextmanager
def held(run: Run) -> Iterator[None]:
    """Hold a run's lock, which the system lets go of however the process ends; the empty file stays.

    Of a distributed run the first process holds it for all. Where there are no such locks nothing is held.

    Args:
        run: its directory exists.

    Raises:
        UserError: another process holds it.
    """
    if not processes.is_first():
        yield
        return
    with claimed(run.path / NAME) as ours:
        if not ours:
            raise UserError(
                f"run {run.path} is being trained by another process: wait for it, or stop it, then --resume"
            )
        yield


@contextmanager
def claimed(file: Path) -> Iterator[bool]:
    """Hold a file's lock, made if need be, unless another process does.

    Yields:
        Whether it is ours; where there are no such locks, always.
    """
    with file.open("wb") as lock:
        for left in reversed(range(TRIES)):
            try:
                if fcntl is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not left:
                    yield False
                    return
                time.sleep(PAUSE)
            except OSError:  # a file system without locks
                break
        yield True


def is_claimed(file: Path) -> bool:
    """Whether a process holds a file now; asking neither waits nor takes the claim.

    It shares the lock for an instant, so that others may ask at once, and `claimed` outlasts it. A process
    must not ask of what it holds itself: on some network file systems it would let go.

    Returns:
        False too where there is no such file, it cannot be read, or there are no such locks.
    """
    try:
        with file.open("rb") as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        pass
    return False
