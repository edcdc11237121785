"""How much work a call is, counted and not timed: the same number on every machine."""

from __future__ import annotations

import sys
from collections.abc import Callable


def lines_run(call: Callable[[], object]) -> int:
    """Lines of Python that a call passes, whatever it ends in but an outcome of pytest."""
    count, before = 0, sys.gettrace()

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        call()
    except Exception:
        return count
    finally:
        sys.settrace(before)
    return count
