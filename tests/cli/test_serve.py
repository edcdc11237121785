"""`dermlens serve` as a process: it starts at once, dies, and starts again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

COMMAND = [sys.executable, "-u", "-c", "from dermlens.cli.app import main; main()", "serve"]


@contextmanager
def serving(*words: str, **environment: str):
    """A service on a free port, and its address, once it is ready."""
    running = subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.PIPE, text=True, env=os.environ | environment
    )
    try:
        for line in running.stdout:
            if found := re.search(r"listening on (http://\S+)", line):
                yield running, found[1]
                return
        raise AssertionError("it ended without listening")
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def ready(address: str) -> bool:
    for _ in range(2000):
        try:
            with urllib.request.urlopen(f"{address}/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            time.sleep(0.05)
    return False


def test_killed_in_the_middle_it_starts_again_and_ends_when_it_is_told_to():
    with serving("--port", "0") as (running, address):
        assert ready(address)
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nabc")
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
    with serving("--port", str(port)) as (running, again):
        assert ready(again)
        running.send_signal(signal.SIGTERM)
        assert running.wait(120) in (0, -signal.SIGTERM)


def test_a_key_from_the_environment():
    with serving("--port", "0", DERMLENS_API_KEY="a long secret") as (_, address):
        assert ready(address)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{address}/v1/model", timeout=60)
        asked = urllib.request.Request(f"{address}/v1/model", headers={"X-API-Key": "a long secret"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            assert answer.status == 200


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
def test_addresses_of_ipv6(host):
    named = ["--allow-host", "127.0.0.1", "--allow-host", "::1"] if host == "::" else []
    with serving("--port", "0", "--host", host, *named) as (_, address):
        assert address.startswith(f"http://[{host}]:")
        assert ready(address.replace("[::]", "[::1]"))
        if host == "::":
            assert ready(address.replace("[::]", "127.0.0.1"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "/nowhere"], "model.json"),
        (["--host", "256.0.0.1"], "256.0.0.1"),
        (["--host", "::g"], "::g"),
        (["--host", "x" * 80], "xxx"),
        (["--seconds", "inf"], "--seconds is inf"),
        (["--seconds", "nan"], "--seconds is nan"),
        (["--max-megabytes", "inf"], "--max-megabytes is inf"),
        (["--max-megabytes", "0"], "--max-megabytes is 0"),
        (["--port", "99999"], "65535"),
    ],
)
def test_rubbish_gets_one_sentence(dermlens, words, sentence):
    code, _, output = dermlens("serve", "--port", "0", *words)
    assert code == 2
    (line,) = output.splitlines()
    assert sentence in line


def test_a_port_that_is_taken(dermlens):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        _, _, output = dermlens("serve", "--port", port)
    assert f"127.0.0.1, port {port}" in output
