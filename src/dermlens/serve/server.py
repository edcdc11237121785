"""The socket and uvicorn around the service. Slow heads and many connections are a reverse proxy's work."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dermlens.errors import UserError
from dermlens.serve.middleware import configure

CONNECTIONS = 512
"""Connections or requests at once; further ones are answered with 503."""
IDLE_SECONDS = 5
HEAD_BYTES = 16 * 1024
LEAST_PIECE, MOST_PIECE = 256, 65_536
"""Bytes that are parsed at a time, before other connections have their turn."""
SHORT, LONG = 0.0005, 0.002
"""Seconds: pieces grow while one takes less, and shrink when one takes more."""
DEAR = 3e-8
"""Seconds a byte: chunks of one byte cost fifty times as much, those of a kilobyte a third. A head is as
dear, so that one dear piece means nothing."""
REST, MOST_REST = 64, 0.1
"""A connection of dear pieces rests so many times as long as each took; in seconds at most."""


class Paced(asyncio.Protocol):
    """Hands what arrives to uvicorn's protocol in pieces, so that no client keeps the loop for long.

    Some bytes cost a thousand times what others do: a body in chunks of one byte above all. Between two
    pieces the loop serves everyone else, whoever sends such bytes waits longer, and while pieces wait the
    socket is not read.
    """

    def __init__(self, **given: Any) -> None:
        self._inner = H11Protocol(**given)
        self._loop = asyncio.get_running_loop()
        self._waiting = bytearray()
        self._piece = 2 * LEAST_PIECE
        self._next: asyncio.TimerHandle | None = None
        self._rest, self._dear = 0.0, False
        self.held = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._inner.connection_made(_Held(transport, self))  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Take what arrives."""
        self._waiting += data
        self.proceed()

    def proceed(self) -> None:
        """Go on with what waits, if it may."""
        if self._next is None:
            self._feed()

    def _feed(self) -> None:
        self._next = None
        if self._transport.is_closing():
            self._waiting.clear()
            return
        if self._waiting and not self.held:
            piece = bytes(self._waiting[: self._piece])
            del self._waiting[: self._piece]
            began = time.thread_time()
            self._inner.data_received(piece)
            spent = time.thread_time() - began
            dear = spent > DEAR * len(piece)
            self._rest = min(MOST_REST, REST * spent) if dear and self._dear else 0.0
            self._dear = dear
            if spent > LONG:
                self._piece = max(LEAST_PIECE, self._piece // 4)
            elif spent < SHORT:
                self._piece = min(MOST_PIECE, 2 * self._piece)
        if self._transport.is_closing():
            return
        if self._waiting and not self.held:
            self._next = self._loop.call_later(self._rest, self._feed)
        if self._waiting or self.held:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def eof_received(self) -> bool | None:
        """The client sends no more."""
        self._inner.eof_received()
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._waiting.clear()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes no more for now."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client takes more again."""
        self._inner.resume_writing()


class _Held:
    """A transport whose reading its protocol may pause without the pieces that wait being read further."""

    def __init__(self, transport: asyncio.Transport, paced: Paced) -> None:
        self._transport, self._paced = transport, paced

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def pause_reading(self) -> None:
        self._paced.held = True
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._paced.held = False
        self._paced.proceed()


def make_server(service: Any, seconds: float) -> uvicorn.Server:
    """A server for `create_app`'s service; run it with `sockets=[listening_on(…)]`.

    Args:
        service: the application.
        seconds: that requests inside may take when it is asked to end.
    """
    configure()
    return uvicorn.Server(
        uvicorn.Config(
            service,
            http=Paced,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
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
        listening = socket.create_server(address[:2], family=family, backlog=CONNECTIONS, dualstack_ipv6=both)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen on {host}, port {port}: {reason}") from error
    # an answer's body is written after its head: it would wait 40 ms for the client to have seen that
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
