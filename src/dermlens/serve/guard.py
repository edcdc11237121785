"""What every request passes before its body is read: its key, the size that it announces. And the counts."""

from __future__ import annotations

import hmac
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.serve.bodies import too_large
from dermlens.serve.config import ServeConfig
from dermlens.serve.headers import answer
from dermlens.serve.metrics import Metrics
from dermlens.serve.problems import Problem

GUARDED = "/v1/"
PATHS = ("/v1/predict", "/v1/explain", "/v1/model", "/health", "/ready", "/metrics", "/")


class Guard:
    """ASGI middleware: asks for the key, refuses what is announced too large, counts."""

    def __init__(self, app: ASGIApp, config: ServeConfig, metrics: Metrics) -> None:
        self._app, self._config, self._metrics = app, config, metrics

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
                self._check_size(scope)
            except Problem as problem:
                await answer(problem, noted)
            else:
                await self._app(scope, receive, noted)
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

    def _check_size(self, scope: Scope) -> None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18:
            raise Problem(400, "the header Content-Length is no number")
        if int(length) > self._config.max_bytes:
            raise too_large(self._config.max_bytes)
