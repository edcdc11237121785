"""One process works on a file: a second would write over what the first does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

TRIES = 5
PAUSE = 0.01
"""Seconds between tries: `is_claimed` may hold the file for an instant, which is no claim."""


def lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed or the process ends, however it does.

    Returns:
        Whether it is ours and no other process's; where there are no such locks, always.
    """
    for left in reversed(range(TRIES)):
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if not left:
                return False
            time.sleep(PAUSE)
        except OSError:  # a file system without locks
            break
    return True


@contextmanager
def claimed(file: Path) -> Iterator[bool]:
    """Hold a file's lock, made if need be, unless another process does.

    Yields:
        Whether it is ours, as `lock` says it.
    """
    with file.open("wb") as held:
        yield lock(held)


def is_claimed(file: Path) -> bool:
    """Whether a process holds a file now; asking neither waits nor takes the claim.

    It shares the lock for an instant, so that others may ask at once, and `claimed` outlasts it. A process
    must not ask of what it holds itself: on some network file systems it would let go.

    Returns:
        False too where there is no such file, it cannot be read, or there are no such locks.
    """
    try:
        with file.open("rb") as held:
            if fcntl is not None:
                fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        pass
    return False
