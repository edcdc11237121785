"""Work on the tiny study that is killed at random and then let be; test_work.py starts this.

One process imports everything once; each worker is a fork of it, where a kill is a kill. How many were killed
is printed.

Usage: killed_work.py RECIPE DATA OUT RESULTS CACHE
"""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback
from pathlib import Path
from typing import TextIO

from tiny_study import tiny_site, tiny_study, trainings

from paper.work import Worker

RECIPE, DATA, OUT, RESULTS, CACHE = (Path(word) for word in sys.argv[1:])


def started() -> tuple[int, TextIO]:
    """A worker's process, and the lines that it says."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(here)
        os.dup2(there, sys.stdout.fileno())
        sys.stdout.reconfigure(line_buffering=True)
        try:
            study = tiny_study(RECIPE)
            Worker(study, tiny_site(DATA, OUT, RESULTS, CACHE), say=print).work(trainings(study))
            code = 0
        except BaseException:
            traceback.print_exc()
            code = 1
        os._exit(code)
    os.close(there)
    return child, os.fdopen(here)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main() -> None:
    chance = random.Random(5)
    kills = 0
    for _ in range(4):
        child, lines = started()
        with lines:
            next(lines)  # it has begun a run
            for _ in range(chance.randrange(6)):
                next(lines, None)
            os.kill(child, signal.SIGKILL)
        kills += ended(child) == -signal.SIGKILL
    child, lines = started()
    with lines:
        lines.read()
    code = ended(child)
    print(kills)
    sys.exit(code)


if __name__ == "__main__":
    main()
