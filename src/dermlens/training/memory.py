"""Memory that stays with the process between the steps of a training, and the batches of a prediction.

A step allocates and frees some hundred megabytes of activations. The C library of Linux gives blocks of that
size back to the system at once and asks for them anew, and the system clears each page again: a third to a
half of the time of a step (docs/results/kept_memory.md).
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's malloc.h
_LARGEST_INT = 2**31 - 1


def keep_memory() -> bool:
    """Ask glibc to keep freed memory for the next step instead of returning it.

    Returns:
        Whether it will; elsewhere than under glibc there is nothing to ask.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _LARGEST_INT))
