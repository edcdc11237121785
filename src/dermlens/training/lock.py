"""One process trains a run: a second would write over its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dermlens.errors import UserError
from dermlens.runs import Run
from dermlens.training import processes

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"


@contextmanager
def held(run: Run) -> Iterator[None]:
    """Hold a run's lock, which the system lets go of however the process ends; the empty file stays.

    Of a distributed run the first process holds it for all. Where there are no such locks nothing is held.

    Args:
        run: its directory exists.

    Raises:
        UserError: another process holds it.
    """
    if fcntl is None or not processes.is_first():
        yield
        return
    with (run.path / NAME).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"run {run.path} is being trained by another process: wait for it, or stop it, then --resume"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
