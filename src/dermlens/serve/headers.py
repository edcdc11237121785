"""What every response bears, whatever has happened: headers, and a sentence for what nobody foresaw."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import traceback

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.serve.problems import Problem

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
FAILED = Problem(500, "the service has failed at this; its log says where")
LINGER_SECONDS, LINGERING = 1.0, 64
"""A client that is refused and goes on sending is read and forgotten so long, and so many at once: closing
before would take the answer from it, and let it come again at once."""
log = logging.getLogger(__name__)


class Headers:
    """ASGI middleware around all others: adds the headers, and answers where the others fail.

    A response that goes out before the request's body was read closes the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._lingering = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, unread = False, announces_body(scope)

        async def reading() -> Message:
            nonlocal unread
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                unread = False
            return message

        async def marked(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = with_headers(message["headers"])
                if unread:
                    message["headers"].append((b"connection", b"close"))
            elif unread and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await self._linger(reading)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            await self._app(scope, reading, marked)
        except Exception as error:
            # where, and not what: the words of an error may be the client's
            frames = traceback.extract_tb(error.__traceback__)
            where = " < ".join(f"{one.name} ({one.filename}:{one.lineno})" for one in reversed(frames))
            log.error("%s in %s", type(error).__name__, where)
            if not begun:
                await answer(FAILED, marked)

    async def _linger(self, receive: Receive) -> None:
        if self._lingering >= LINGERING:
            return
        self._lingering += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LINGER_SECONDS):
                    while (message := await receive()).get("more_body", False):
                        del message
        finally:
            self._lingering -= 1


def announces_body(scope: Scope) -> bool:
    """Whether a request says that it has a body."""
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def with_headers(given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A response's headers and, where it does not say otherwise, those of every response."""
    known = {name.lower() for name, _ in given}
    every = {**HEADERS, "cache-control": "no-store"}
    return [*given, *((k.encode(), v.encode()) for k, v in every.items() if k.encode() not in known)]


async def answer(problem: Problem, send: Send) -> None:
    """Send a problem as JSON."""
    content = json.dumps({"detail": problem.sentence}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(content)), **problem.headers}
    start = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": start})
    await send({"type": "http.response.body", "body": content})
