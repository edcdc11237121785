"""One process trains a run: a second would write over what the first does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dermlens.errors import UserError
from dermlens.lock import claimed
from dermlens.runs import Run
from dermlens.training import processes

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
    if not processes.is_first():
        yield
        return
    with claimed(run.path / NAME) as ours:
        if not ours:
            raise UserError(
                f"run {run.path} is being trained by another process: wait for it, or stop it, then --resume"
            )
        yield
