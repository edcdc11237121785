"""Connections as they really are: raw sockets that send nothing, too little, too slowly, or no HTTP."""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import time
from urllib.parse import urlsplit

import pytest

from dermlens.serve import server

HEAD = b"GET /health HTTP/1.1\r\nHost: x\r\n"
SECONDS = 0.6


@pytest.fixture
def connect(address: str, monkeypatch: pytest.MonkeyPatch):
    """Connections to a service that waits for a head for `SECONDS`."""
    monkeypatch.setattr(server, "HEAD_SECONDS", SECONDS)
    opened = []

    def connecting(words: bytes = b"") -> socket.socket:
        opened.append(socket.create_connection(("127.0.0.1", urlsplit(address).port), timeout=5))
        opened[-1].sendall(words)
        return opened[-1]

    yield connecting
    for one in opened:
        one.close()


def closes(connection: socket.socket) -> bool:
    """Whether the other side ends it without a word."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def answer(connection: socket.socket) -> tuple[bytes, dict[str, str], bytes]:
    """Status line, headers and body."""
    said = b""
    while b"\r\n\r\n" not in said:
        said += connection.recv(65536)
    head, _, body = said.partition(b"\r\n\r\n")
    line, *rest = head.split(b"\r\n")
    headers = dict(one.decode().lower().split(": ", 1) for one in rest)
    while len(body) < int(headers["content-length"]):
        body += connection.recv(65536)
    return line, headers, body


@pytest.mark.parametrize("words", [b"", b"GET", HEAD], ids=["nothing", "a word", "half a head"])
def test_a_connection_without_a_whole_head_is_closed(connect, words):
    many = [connect(words) for _ in range(50)]
    began = time.monotonic()
    assert all(closes(one) for one in many)
    assert time.monotonic() - began < 3 * SECONDS


@pytest.mark.parametrize("first", [b"", HEAD + b"\r\n"], ids=["from the start", "after an answer"])
def test_a_head_that_drips_is_cut_off(connect, first):
    slow = connect(first)
    if first:
        assert answer(slow)[0].endswith(b"200 OK")
    began = time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - began < 5:
            slow.sendall(b"G")
            time.sleep(SECONDS / 6)
    assert time.monotonic() - began < 3 * SECONDS


def test_a_body_may_take_longer_than_a_head(connect):
    content = b"{}"
    slow = connect(
        b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Type: text/x\r\n\r\n"
    )
    for byte in content:
        time.sleep(SECONDS)
        slow.sendall(bytes([byte]))
    assert b" 415 " in answer(slow)[0]


def test_an_answer_s_body_does_not_wait_for_its_head_to_be_seen(connect):
    asking, spent = connect(), []
    for _ in range(30):
        began = time.monotonic()
        asking.sendall(HEAD + b"\r\n")
        assert b" 200 " in answer(asking)[0]
        spent.append(time.monotonic() - began)
    assert statistics.median(spent) < 0.03


def test_further_connections_are_closed(connect, monkeypatch):
    held = [connect(HEAD) for _ in range(3)]
    monkeypatch.setattr(server, "CONNECTIONS", 3)
    assert closes(connect(HEAD))
    held[0].sendall(b"\r\n")
    assert b" 200 " in answer(held[0])[0]


@pytest.mark.parametrize(
    "words",
    [
        b"rubbish\r\n\r\n",
        HEAD + b"X: " + b"a" * 20_000,
        b"\x16\x03\x01\x02\0\r\n\r\n",
    ],
    ids=["words", "a long head", "tls"],
)
def test_what_is_no_http_gets_a_sentence_and_the_headers(connect, words):
    line, headers, body = answer(connect(words))
    assert b" 400 " in line
    assert headers["content-type"] == "application/json"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["connection"] == "close"
    assert json.loads(body) == {"detail": "the request is not HTTP, or its head is too long"}
