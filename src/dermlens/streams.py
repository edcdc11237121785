"""Standard output and error that take every character, and that may be closed.

What a result is decorated with must not decide over the result: a dash that the terminal's encoding lacks
becomes a hyphen, and without a standard output the work is done all the same.
"""

from __future__ import annotations

import codecs
import os
import sys
from typing import TextIO

PLAIN = {
    "\u2013": "-",
    "\u2014": "-",
    "\u2212": "-",
    "\u2010": "-",
    "\u2011": "-",
    "\u2026": "...",
    "\u2192": "->",
    "\u2190": "<-",
    "\u00d7": "x",
    "\u2265": ">=",
    "\u2264": "<=",
    "\u2248": "~",
    "\u00b1": "+/-",
    "\u00b7": "*",
    "\u2022": "*",
    "\u2019": "'",
    "\u2018": "'",
    "\u201c": '"',
    "\u201d": '"',
    "\u00a0": " ",
    "\u202f": " ",
    "\u2007": " ",
    "\u03b5": "epsilon",
    "\u03b3": "gamma",
    "\u03b1": "alpha",
    "\u03c4": "tau",
    "\u2713": "yes",
    "\u2717": "no",
}
HANDLER = "dermlens_plain"


def prepare_streams() -> None:
    """Make standard output and error fit for any text, and stand in for those that are closed."""
    codecs.register_error(HANDLER, _plain)
    _occupy()
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    if hasattr(sys.stdout, "reconfigure"):  # not what a test or a notebook puts there
        sys.stdout.reconfigure(errors=HANDLER)
    if hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(errors=HANDLER)


def discard_output() -> None:
    """Send what is still to be written nowhere: whoever read it has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


def fits(text: str) -> bool:
    """Whether standard output takes a text as it is."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks: their like in ASCII, else a question mark."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  # as long as the process


def _occupy() -> None:
    """Take the numbers of closed streams, or the next file that is opened would be the standard output."""
    while True:
        number = os.open(os.devnull, os.O_RDWR)
        if number > 2:
            os.close(number)
            return
