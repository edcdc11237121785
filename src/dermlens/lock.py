"""One process works on a file: a second would write over what the first does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def lock(file: IO[Any]) -> bool:
    """Lock an open file until it is closed or the process ends, however it does.

    Returns:
        Whether it is ours and no other process's; where there are no such locks, always.
    """
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


@contextmanager
def claimed(file: Path) -> Iterator[bool]:
    """Hold a file's lock, made if need be, unless another process does.

    Yields:
        Whether it is ours, as `lock` says it.
    """
    with file.open("wb") as held:
        yield lock(held)
