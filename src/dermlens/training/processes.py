"""Several processes, one run directory.

Lightning starts the others by running the same command again, so that each comes through `fit` once more;
a command that chose a new folder's name would choose another. The first process leaves the name for them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch.utilities import rank_zero_only

from dermlens.errors import UserError
from dermlens.lock import claimed
from dermlens.runs import Run

LOCK = ".lock"
"""Name of the lock file in the run directory."""

_FOLDER = "DERMLENS_RUN_FOLDER"


def is_first() -> bool:
    """Whether this is the process that writes; the only one, mostly."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0


def share_folder(folder: Path) -> None:
    """Tell the processes that will be started where the run is."""
    if is_first():
        os.environ[_FOLDER] = str(folder.resolve())


def shared_folder(named: Path) -> Path:
    """The folder that the first process uses, whatever this one's command says."""
    return Path(os.environ.get(_FOLDER, named))


@contextmanager
def held(run: Run) -> Iterator[None]:
    """Hold a run's lock: a second command that trains it would write over what the first does.

    Of a distributed run the first process holds it for all.

    Args:
        run: its directory exists.

    Raises:
        UserError: another command holds it, or the run's file system has no locks.
    """
    if not is_first():
        yield
        return
    with claimed(run.path / LOCK) as ours:
        if not ours:
            raise UserError(
                f"run {run.path} is being trained by another process: wait for it, or stop it, then --resume"
            )
        yield


def end_others() -> None:
    """Training is over: only the first process has more to do."""
    if not is_first():
        sys.exit(0)
