"""What every request passes: its size, its time, its key."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.serve.config import ServeConfig
from dermlens.serve.headers import answer
from dermlens.serve.metrics import Metrics
from dermlens.serve.problems import Problem, busy

HELD = 8
"""Largest bodies that all requests together may hold in memory."""
GUARDED = "/v1/"
PATHS = ("/v1/predict", "/v1/explain", "/v1/model", "/health", "/ready", "/metrics", "/")


class Guard:
    """ASGI middleware: limits the body, asks for the key, counts."""

    def __init__(self, app: ASGIApp, config: ServeConfig, metrics: Metrics) -> None:
        self._app, self._config, self._metrics = app, config, metrics
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            try:
                self._check_key(scope)
                async with self._body(scope, receive) as body:
                    await self._app(scope, _replay(body, receive), noted)
            except Problem as problem:
                await answer(problem, noted)
        finally:
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.perf_counter() - began)

    def _check_key(self, scope: Scope) -> None:
        key = self._config.api_key
        if key is None or not scope["path"].startswith(GUARDED) or scope["method"] == "OPTIONS":
            return
        given = dict(scope["headers"]).get(b"x-api-key", b"")
        if not hmac.compare_digest(given, key.encode()):
            raise Problem(401, "this service wants a key: send it as the header X-API-Key")

    @asynccontextmanager
    async def _body(self, scope: Scope, receive: Receive) -> AsyncIterator[deque[bytes]]:
        """The whole body, in parts that whoever takes them lets go of; it counts until the request ends.

        Raises:
            Problem: 413 when it is too large, 408 when it takes too long, 429 when all bodies are together.
        """
        most = self._config.max_bytes
        large = Problem(413, f"the request is larger than {most / 2**20:g} MB, the most that is taken")
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit():
            raise Problem(400, "the header Content-Length is no number")
        if int(said) > most:
            raise large
        parts: deque[bytes] = deque()
        size = 0
        try:
            try:
                async with asyncio.timeout(self._config.seconds):
                    async for part in _arriving(receive):
                        parts.append(part)
                        size += len(part)
                        self._held += len(part)
                        if size > most:
                            raise large
                        if self._held > HELD * most:
                            raise busy()
            except TimeoutError:
                raise Problem(408, "the request took too long to arrive") from None
            yield parts
        finally:
            self._held -= size


async def _arriving(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem(400, "the connection ended before the request did")
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _replay(body: deque[bytes], receive: Receive) -> Receive:
    """The body again, for the application; then what the client does."""

    async def again() -> Message:
        if body:
            return {"type": "http.request", "body": body.popleft(), "more_body": bool(body)}
        return await receive()

    return again
