"""What a client is told when it gets no answer: a status and one sentence."""

from __future__ import annotations


class Problem(Exception):  # noqa: N818 (what HTTP calls it: RFC 9457)
    """A request that gets no answer.

    Attributes:
        status: of HTTP.
        sentence: why, for a person.
        headers: to send along.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, headers or {}


def busy() -> Problem:
    """Too many images are inside already."""
    return Problem(
        429, "the service has as much to do as it takes on; ask again in a second", {"Retry-After": "1"}
    )


def late() -> Problem:
    """The answer took longer than a request may."""
    return Problem(503, "the answer took too long; ask again later", {"Retry-After": "5"})
