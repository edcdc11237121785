"""What a client is told when it gets no answer: a status and one sentence."""

from __future__ import annotations

LONGEST_SENTENCE = 300
"""Characters. What a client sent may stand in a sentence, and is not sent back at length."""


class Problem(Exception):  # noqa: N818 (what HTTP calls it: RFC 9457)
    """A request that gets no answer.

    Attributes:
        status: of HTTP.
        sentence: why, for a person; shortened where it is long.
        headers: to send along.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, shortened(sentence), headers or {}


def shortened(sentence: str) -> str:
    """A sentence on one line, of at most `LONGEST_SENTENCE` characters, without what cannot be printed."""
    line = "".join(one if one.isprintable() else " " for one in sentence[: 2 * LONGEST_SENTENCE])
    return line if len(line) <= LONGEST_SENTENCE else f"{line[: LONGEST_SENTENCE - 1]}…"


def busy() -> Problem:
    """Too many images are inside already."""
    return Problem(
        503, "the service has as much to do as it takes on; ask again in a second", {"Retry-After": "1"}
    )


def late() -> Problem:
    """The answer took longer than a request may."""
    return Problem(503, "the answer took too long; ask again later", {"Retry-After": "5"})
