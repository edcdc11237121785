"""What every request passes: its size, its time, its key; and what every response bears."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.serve.config import ServeConfig
from dermlens.serve.metrics import Metrics
from dermlens.serve.problems import Problem, busy

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "geolocation=(), microphone=(), payment=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
HELD = 8
"""Largest bodies that all requests together may hold in memory."""
GUARDED = "/v1/"
PATHS = ("/v1/predict", "/v1/explain", "/v1/model", "/health", "/ready", "/metrics", "/")


class Guard:
    """ASGI middleware: limits the body, asks for the key, adds the headers, counts."""

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

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in given),
                    *([] if b"cache-control" in given else [(b"cache-control", b"no-store")]),
                ]
            await send(message)

        try:
            try:
                self._check_key(scope)
                async with self._body(scope, receive) as body:
                    await self._app(scope, _replay(body, receive), marked)
            except Problem as problem:
                await _answer(problem, marked)
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
    async def _body(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        """The whole body, in memory, which is counted as long as it is held.

        Raises:
            Problem: 413 when it is too large, 408 when it takes too long, 429 when all bodies are together.
        """
        parts: list[bytes] = []
        try:
            await self._receive(scope, receive, parts)
            yield b"".join(parts)
        finally:
            self._held -= sum(map(len, parts))

    async def _receive(self, scope: Scope, receive: Receive, parts: list[bytes]) -> None:
        most = self._config.max_bytes
        large = Problem(413, f"the request is larger than {most / 2**20:g} MB, the most that is taken")
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit():
            raise Problem(400, "the header Content-Length is no number")
        if int(said) > most:
            raise large
        size = 0
        try:
            async with asyncio.timeout(self._config.seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Problem(400, "the connection ended before the request did")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    self._held += len(parts[-1])
                    if size > most:
                        raise large
                    if self._held > HELD * most:
                        raise busy()
                    if not message.get("more_body"):
                        return
        except TimeoutError:
            raise Problem(408, "the request took too long to arrive") from None


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body again, for the application; then what the client does."""
    left = [body]

    async def again() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return again


async def _answer(problem: Problem, send: Send) -> None:
    content = json.dumps({"detail": problem.sentence}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(content)), **problem.headers}
    if problem.status in (408, 413):
        headers["connection"] = "close"
    start = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": start})
    await send({"type": "http.response.body", "body": content})
