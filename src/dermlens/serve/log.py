"""The service's log: what went wrong and where, a line for each kind a minute at most.

Whoever can make the service fail, or uvicorn complain, can do so a thousand times a second: the log says it
once and counts the rest.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable

MINUTE = 60.0
LONGEST_LINE = 600
"""Characters."""
MOST_KINDS = 256
"""Kinds that are counted apart."""


class Sparing(logging.Filter):
    """Lets a line of each kind through a minute; the next one says how many were left out.

    A kind is a place in the code: of the line, and of the error where there is one.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        kind = (record.pathname, record.lineno, error)
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind = ("", 0, "")
        now = self._clock()
        since, left_out = self._kinds.get(kind, (-MINUTE, 0))
        if now - since < MINUTE:
            self._kinds[kind] = (since, left_out + 1)
            return False
        self._kinds[kind] = (now, 0)
        record.left_out = left_out
        return True


class OneLine(logging.Formatter):
    """A line of bounded length: of an error its kind, and nothing that a client may have said."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}: {record.exc_info[0].__name__}"
        left_out = getattr(record, "left_out", 0)
        more = f" ({left_out} more of this kind since the last line)" if left_out else ""
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {text}"
        line = "".join(one if one.isprintable() else " " for one in line[:LONGEST_LINE])
        return line + more


def configure() -> None:
    """Write the log of this process to stderr, errors alone, and by these rules."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Sparing())
    handler.setFormatter(OneLine())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.ERROR)


LOGGERS = ("dermlens.serve", "uvicorn", "asyncio")
"""Of this package, and of what runs it."""
