"""The socket and uvicorn around the service: what a connection may do before it is a request."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dermlens.errors import UserError
from dermlens.serve.headers import with_headers

CONNECTIONS = 512
"""At once; further ones are closed unread."""
HEAD_SECONDS = 10.0
"""From a connection's beginning, or its last answer, to the end of a request's head."""
IDLE_SECONDS = 5
HEAD_BYTES = 16 * 1024


class Connection(H11Protocol):
    """uvicorn's connection, which in addition closes when no whole head arrives in time."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, unless there are too many."""
        super().connection_made(transport)
        # an answer's body is written after its head: it would wait 40 ms for the client to have seen that
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        self._mind_the_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Go on with a head or a body."""
        super().data_received(data)
        self._mind_the_clock()

    def on_response_complete(self) -> None:
        """Go on to the next request."""
        super().on_response_complete()
        self._mind_the_clock()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP as the service refuses everything: one sentence, and the headers."""
        del msg
        content = json.dumps({"detail": "the request is not HTTP, or its head is too long"}).encode()
        given = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        headers = [*with_headers(given), (b"connection", b"close")]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _mind_the_clock(self) -> None:
        """Let it run as long as no request is inside; the service itself times those."""
        inside = self.cycle is not None and not self.cycle.response_complete
        if inside and self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        elif not inside and self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.abort)


def make_server(service: Any, seconds: float) -> uvicorn.Server:
    """A server for `create_app`'s service; run it with `sockets=[listening_on(…)]`.

    Args:
        service: the application.
        seconds: that requests inside may take when it is told to end.
    """
    return uvicorn.Server(
        uvicorn.Config(
            service,
            http=Connection,
            ws="none",
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=int(seconds),
            h11_max_incomplete_event_size=HEAD_BYTES,
        )
    )


def listening_on(host: str, port: int) -> socket.socket:
    """A socket that listens; a name of both kinds means its IPv4 address, and :: every address of either.

    Raises:
        UserError: the address is not of this machine, not to be had, or taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        both = host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=CONNECTIONS, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen on {host}, port {port}: {said}") from error
