"""Connections as they really are: raw sockets that send too slowly, too much, in tiny pieces, or no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from types import SimpleNamespace
from unittest.mock import create_autospec
from urllib.parse import urlsplit

import hostile
import pytest

from dermlens.predict.predictor import Predictor
from dermlens.serve.app import create_app
from dermlens.serve.limits import ServeConfig
from dermlens.serve.server import DEAR, LONG, MOST_PIECE, Paced, listening_on, make_server

from .conftest import LESION

HEAD = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def connect(address: str):
    """Connections to a service."""
    opened = []

    def connecting(words: bytes = b"") -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", urlsplit(address).port), timeout=120))
        opened[-1].sendall(words)
        return opened[-1]

    yield connecting
    for one in opened:
        one.close()


def closes(connection: socket.socket) -> bool:
    """Whether the other side ends it without a further word."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def answer(connection: socket.socket) -> tuple[bytes, dict[str, str], bytes]:
    """Status line, headers and body."""
    output = b""
    while b"\r\n\r\n" not in output:
        output += connection.recv(65536)
    head, _, body = output.partition(b"\r\n\r\n")
    line, *rest = head.split(b"\r\n")
    headers = dict(one.decode().lower().split(": ", 1) for one in rest)
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return line, headers, body


def test_a_body_may_drip(connect):
    slow = connect(POST.replace(b"application/json", b"text/x") + b"Content-Length: 2\r\n\r\n")
    for byte in b"{}":
        time.sleep(0.1)
        slow.sendall(bytes([byte]))
    assert b" 415 " in answer(slow)[0]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (POST + b"Content-Length: 9999999999\r\n\r\n", 413),
        (POST.replace(b"json", b"xml") + b"Content-Length: 5000000\r\n\r\n", 415),
        (POST.replace(b"localhost", b"rebound.example") + b"Content-Length: 5000000\r\n\r\n", 400),
        (POST + b"Origin: https://elsewhere.example\r\nContent-Length: 5000000\r\n\r\n", 403),
        (POST.replace(b"/v1/predict", b"/nothing") + b"Content-Length: 5000000\r\n\r\n", 404),
        (POST.replace(b"/v1/predict", b"/health") + b"Content-Length: 5000000\r\n\r\n", 405),
        (POST.replace(b"/v1/predict", b"/nothing") + CHUNKED, 404),
    ],
)
def test_a_refusal_before_the_body_is_read_closes(connect, words, status):
    asking = connect(words)
    line, headers, _ = answer(asking)
    assert f" {status} ".encode() in line
    assert headers["connection"] == "close"
    assert closes(asking)


def test_a_client_that_sends_its_body_first_still_reads_the_refusal(connect):
    asking = connect(POST.replace(b"json", b"xml") + b"Content-Length: 3000000\r\n\r\n")
    asking.sendall(bytes(3_000_000))
    assert b" 415 " in answer(asking)[0]


def test_a_refusal_after_the_body_keeps_the_connection(connect):
    asking = connect(POST + b"Content-Length: 2\r\n\r\n{}")
    line, headers, _ = answer(asking)
    assert b" 422 " in line
    assert "connection" not in headers
    asking.sendall(HEAD + b"\r\n")
    assert b" 200 " in answer(asking)[0]


@contextlib.contextmanager
def serving(shipped: Predictor, config: ServeConfig):
    """Connections to a service of one's own."""
    listening = listening_on("127.0.0.1", 0)
    server = make_server(create_app(shipped, config), 1)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield lambda: socket.create_connection(listening.getsockname(), timeout=120)
    finally:
        server.should_exit = True
        thread.join(120)


def test_a_key_is_asked_for_before_a_flood_is_read(shipped):
    with serving(shipped, ServeConfig(api_key="a long secret")) as connecting, connecting() as asking:
        asking.sendall(POST + CHUNKED + hostile.chunks(50_000))
        line, headers, _ = answer(asking)
        assert (b" 401 " in line, headers["connection"]) == (True, "close")


@pytest.mark.parametrize("piece", [b"1\r\nx\r\n", b"1;" + b"a" * 60 + b"\r\nx\r\n"])
def test_floods_of_tiny_chunks_leave_the_loop_to_others(shipped, piece):
    """Eight clients, for whom there is no end while others are not answered."""
    ended = threading.Event()

    def flood(connecting) -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError), connecting() as one:
                one.settimeout(1)
                one.sendall(POST + CHUNKED)
                while not ended.is_set():
                    one.sendall(hostile.chunks(60_000, piece))

    with serving(shipped, ServeConfig(seconds=2)) as connecting:
        threads = [threading.Thread(target=flood, args=(connecting,), daemon=True) for _ in range(8)]
        for one in threads:
            one.start()
        for _ in range(10):
            with connecting() as asking:
                asking.sendall(HEAD + b"\r\n")
                assert b" 200 " in answer(asking)[0]
        ended.set()
        for one in threads:
            one.join(120)


class Costly:
    """Stands for uvicorn's protocol, and for a clock: each byte takes so long."""

    def __init__(self, a_byte: float) -> None:
        self.a_byte, self.now, self.pieces = a_byte, 0.0, list[int]()

    def connection_made(self, transport):
        pass

    def data_received(self, piece):
        self.pieces.append(len(piece))
        self.now += self.a_byte * len(piece)


@pytest.mark.parametrize("a_byte", [1e-9, 1e-8, 1e-6, 5e-6])
def test_a_piece_takes_a_bounded_time_whatever_its_bytes_cost_and_dear_ones_rest(monkeypatch, a_byte):
    """By a clock of the test's own."""
    inner, rests = Costly(a_byte), list[float]()
    monkeypatch.setattr("dermlens.serve.server.H11Protocol", lambda **given: inner)
    monkeypatch.setattr("dermlens.serve.server.time", SimpleNamespace(thread_time=lambda: inner.now))

    async def feed() -> None:
        paced = Paced()
        paced._loop = SimpleNamespace(call_later=lambda rest, then: rests.append(rest))
        transport = create_autospec(asyncio.Transport, instance=True)
        transport.is_closing.return_value = False
        paced.connection_made(transport)
        paced.data_received(bytes(1_000_000))
        transport.resume_reading.assert_not_called()
        while paced._waiting:
            paced._feed()
        transport.resume_reading.assert_called_once()

    asyncio.run(feed())
    assert sum(inner.pieces) == 1_000_000
    longest = max(inner.pieces[1:])
    assert longest * a_byte <= 2 * LONG
    dear = a_byte > DEAR
    assert all((rest > 10 * longest * a_byte) == dear for rest in rests[1:])
    assert dear or longest == MOST_PIECE


def test_bodies_that_drip_hold_no_place_in_the_queue(shipped):
    body, kind = hostile.form(LESION.read_bytes())
    head = POST.replace(hostile.JSON.encode(), kind.encode())
    with serving(shipped, ServeConfig(queue=1)) as connecting, contextlib.ExitStack() as open_ones:
        for _ in range(5):
            slow = open_ones.enter_context(connecting())
            slow.sendall(POST + b"Content-Length: 100\r\n\r\n{")
        with connecting() as asking:
            asking.sendall(head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert b" 200 " in answer(asking)[0]


def test_a_body_in_pieces_of_every_size_arrives_whole(connect):
    """Through the slices of `Paced`, chunked and not, into one answer."""
    body, kind = hostile.form(LESION.read_bytes())
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + kind.encode() + b"\r\n"
    output = []
    for piece in (len(body), 3000, 200):
        asking = connect(head + CHUNKED)
        for at in range(0, len(body), piece):
            part = body[at : at + piece]
            asking.sendall(b"%x\r\n%b\r\n" % (len(part), part))
        asking.sendall(b"0\r\n\r\n")
        output.append(answer(asking)[2])
    whole = connect(head + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert set(output) == {answer(whole)[2]}
    assert json.loads(output[0])["answers"][0]["diagnosis"] == "nv"


def test_an_answer_s_body_does_not_wait_for_its_head_to_be_seen():
    """Connections inherit it; without, each answer takes 40 ms more."""
    with listening_on("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    "words",
    [
        b"rubbish\r\n\r\n",
        HEAD + b"X: " + b"a" * 20_000,
        b"\x16\x03\x01\x02\0\r\n\r\n",
    ],
    ids=["words", "a long head", "tls"],
)
def test_what_is_no_http_is_refused(connect, words):
    asking, output = connect(words), b""
    while part := asking.recv(65536):
        output += part
    assert output.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in output.lower()
    assert len(output) < 300
