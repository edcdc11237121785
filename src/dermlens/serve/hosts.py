"""Whom a request is made to, and by which page: what keeps other web pages from reading the answers.

A page of elsewhere whose name is made to mean this machine (DNS rebinding) sends its own name as `Host`; a
form of elsewhere sends its page as `Origin`. Starlette's TrustedHostMiddleware reads no IPv6 addresses and
answers in another form than this service.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from dermlens.serve.config import ServeConfig
from dermlens.serve.headers import answer
from dermlens.serve.metrics import Metrics
from dermlens.serve.problems import Problem

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
