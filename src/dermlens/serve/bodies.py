"""Bodies on their way into memory: how large, how slow, how many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import Request

from dermlens.serve.config import ServeConfig
from dermlens.serve.problems import Problem, busy

HELD = 4
"""Largest bodies that all requests together may hold in memory."""
CHUNKED = 4
"""Bodies that may arrive at once without saying how long they are: each of their bytes may cost a hundred."""


class Bodies:
    """Counts the bodies of one service."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._held = self._chunked = 0

    @asynccontextmanager
    async def body(self, request: Request) -> AsyncIterator[bytearray]:
        """The whole body of a request; it counts as held until the block ends.

        Raises:
            Problem: 413 when it is too large, 408 when it takes too long, 503 when all bodies are together
                too large, or too many of them do not say how long they are.
        """
        body, most = bytearray(), self._config.max_bytes
        try:
            with self._place(request):
                try:
                    async with asyncio.timeout(self._config.seconds):
                        async for part in _arriving(request):
                            self._held += len(part)
                            body += part
                            if len(body) > most:
                                raise too_large(most)
                            if self._held > HELD * most:
                                raise busy()
                except TimeoutError:
                    raise Problem(408, "the request took too long to arrive") from None
            yield body
        finally:
            self._held -= len(body)

    @contextmanager
    def _place(self, request: Request) -> Iterator[None]:
        if "content-length" in request.headers:
            yield
            return
        if self._chunked >= CHUNKED:
            raise busy()
        self._chunked += 1
        try:
            yield
        finally:
            self._chunked -= 1


async def _arriving(request: Request) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the connection ended before the request did")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def too_large(most: int) -> Problem:
    """The body has more bytes than are taken."""
    return Problem(413, f"the request is larger than {most / 2**20:g} MB, the most that is taken")
