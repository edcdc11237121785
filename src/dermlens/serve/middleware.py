"""What every request passes and every response bears: host, size, time, key, headers; and the log."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import re
import sys
import time
import traceback
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermlens.serve.bodies import too_large
from dermlens.serve.limits import Metrics, Problem, ServeConfig

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


# The service's log: what went wrong and where, a line for each kind a minute at most.
#
# Whoever can make the service fail, or uvicorn complain, can do so a thousand times a second: the log says it
# once and counts the rest.


MINUTE = 60.0
LONGEST_LINE = 600
"""Characters."""
MOST_KINDS = 256
"""Kinds that are counted apart."""


class RateLimit(logging.Filter):
    """Lets a line of each kind through a minute; the next one says how many were left out.

    A kind is a place in the code: of the line, and of the error where there is one.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kinds: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is written."""
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        kind = (record.pathname, record.lineno, error)
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind = ("", 0, "")
        now = self._clock()
        since, left_out = self._kinds.get(kind, (-MINUTE, 0))
        if now - since < MINUTE:
            self._kinds[kind] = (since, left_out + 1)
            return False
        self._kinds[kind] = (now, 0)
        record.left_out = left_out
        return True


class OneLine(logging.Formatter):
    """A line of bounded length: of an error its kind, and nothing that a client may have sent."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        text = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            text = f"{text}: {record.exc_info[0].__name__}"
        left_out = getattr(record, "left_out", 0)
        more = f" ({left_out} more of this kind since the last line)" if left_out else ""
        line = f"{self.formatTime(record)} {record.levelname} {record.name}: {text}"
        line = "".join(one if one.isprintable() else " " for one in line[:LONGEST_LINE])
        return line + more


def configure() -> None:
    """Write the log of this process to stderr, errors alone, and by these rules."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(RateLimit())
    handler.setFormatter(OneLine())
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.ERROR)


LOGGERS = ("dermlens.serve", "uvicorn", "asyncio")
"""Of this package, and of what runs it."""


# Whom a request is made to, and by which page: what keeps other web pages from reading the answers.
#
# A page of elsewhere whose name is made to mean this machine (DNS rebinding) sends its own name as `Host`; a
# form of elsewhere sends its page as `Origin`. Starlette's TrustedHostMiddleware reads no IPv6 addresses and
# answers in another form than this service.


DEFAULT_PORTS = (":80", ":443")


class Hosts:
    """ASGI middleware: refuses other hosts than those of the service, and pages of other hosts."""

    def __init__(self, app: ASGIApp, config: ServeConfig, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._hosts = frozenset(bare(host) for host in config.hosts)
        self._origins = frozenset(origin.rstrip("/").lower() for origin in config.origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or refuse it."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except Problem as problem:
                self._metrics.requests.labels("other", str(problem.status)).inc()
                await answer(problem, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        hosts = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or bare(hosts[0]) not in self._hosts:
            raise Problem(
                400, "the service does not answer under this host name; --allow-host names further ones"
            )
        for name, value in scope["headers"]:
            if name == b"origin":
                origin = value.decode("latin-1").lower()
                if origin not in self._origins and not is_same(origin, hosts[0]):
                    raise Problem(403, "a page of another host may not ask; --origin names those that may")


ADDRESS = re.compile(
    r"\[([0-9a-f:.%]+)\](?::\d*)?|([0-9a-f:.]*:[0-9a-f.]*:[0-9a-f:.]*)|([^:\[\]]*)(?::\d*)?", re.ASCII
)
"""An IPv6 address in brackets, one without them, which then has no port, or anything else."""


def bare(host: str) -> str:
    """The name or address of a `Host`, in lower case, without port, brackets and last dot; empty for none."""
    found = ADDRESS.fullmatch(host.strip().lower())
    return next((one for one in found.groups() if one), "").removesuffix(".") if found else ""


def is_same(origin: str, host: str) -> bool:
    """Whether a page's origin is the host that it asks, in lower case; the scheme is a proxy's matter."""
    try:
        place = urlsplit(origin).netloc
    except ValueError:
        return False
    return bool(place) and _without_default(place) == _without_default(host)


def _without_default(place: str) -> str:
    return next((place.removesuffix(port) for port in DEFAULT_PORTS if place.endswith(port)), place)


# What every request passes before its body is read: its key, the size that it announces. And the counts.


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
