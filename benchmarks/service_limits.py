"""The service against requests made to exhaust it: memory, and how long a plain request waits beside.

    python benchmarks/service_limits.py --write

starts `dermlens serve` anew for each attack, sends it, and half a second later asks of one small picture.
Writes docs/results/service_limits.md.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import psutil
from heading import heading
from PIL import Image

from dermlens.atomic import write_text

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "service_limits.md"
LESION = Path(str(files("dermlens.serve.page"))) / "examples" / "a.jpg"
COMMAND = [sys.executable, "-u", "-c", "from dermlens.cli import main; main()", "serve", "--port", "0"]
Body = tuple[bytes, str]
SIDE = 6324
"""Of a square of just under the 40 million pixels that are taken."""


@contextmanager
def service() -> Iterator[tuple[psutil.Process, int]]:
    """A process and its port, once it listens."""
    running = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        found = next(found for line in running.stdout if (found := re.search(r"http://.+:(\d+)", line)))
        yield psutil.Process(running.pid), int(found[1])
    finally:
        running.kill()
        running.wait()


class Peak(threading.Thread):
    """The most memory of a process, in MB, as long as it is watched."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self.process, self.most, self.ended = process, 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.ended.wait(0.01):
            self.most = max(self.most, megabytes(self.process))


def megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss / 2**20)


def ask(port: int, body: Body) -> tuple[str, float]:
    """Status and seconds."""
    began = time.perf_counter()
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        link.request("POST", "/v1/predict", body[0], {"Content-Type": body[1]})
        said = str(link.getresponse().status)
    except OSError as error:
        said = type(error).__name__
    finally:
        link.close()
    return said, time.perf_counter() - began


def form(*pictures: bytes) -> Body:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    return b"".join(
        head + one + b"\r\n" for one in pictures
    ) + b"--b--\r\n", "multipart/form-data; boundary=b"


def in_json(*pictures: bytes) -> Body:
    said = {"images": [base64.b64encode(one).decode() for one in pictures]}
    return json.dumps(said).encode(), "application/json"


def flat(kind: str, mode: str = "RGB", **options: int) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (SIDE, SIDE), (200, 150, 140, 90)[: len(mode)]).save(stream, kind, **options)
    return stream.getvalue()


def scanned(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    content = flat("JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * (scans - content.count(b"\xff\xda")) + content[-2:]


def attacks() -> Iterator[tuple[str, list[Body]]]:
    """What is sent at once."""
    png, clear = flat("PNG"), flat("PNG", "RGBA")
    yield "one request of 16 PNGs of 40 megapixels", [form(*[png] * 16)]
    yield "8 requests of a transparent PNG of 40 megapixels", [form(clear)] * 8
    yield "2 requests of a JPEG of 2500 scans", [form(scanned(2500))] * 2
    yield "2 requests of a JPEG of 100 scans", [form(scanned(100))] * 2
    yield "8 forms of 31 MB of noise", [form(os.urandom(31 * 2**20))] * 8
    yield "8 JSONs of 31 MB of noise", [in_json(os.urandom(31 * 2**20 * 3 // 4))] * 8


def row(name: str, bodies: list[Body]) -> str:
    """A line of the table."""
    with service() as (process, port):
        ask(port, form(LESION.read_bytes()))
        before, peak = megabytes(process), Peak(process)
        said: list[tuple[str, float]] = []
        threads = [
            threading.Thread(target=lambda one: said.append(ask(port, one)), args=(one,)) for one in bodies
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        beside, waited = ask(port, form(LESION.read_bytes()))
        for thread in threads:
            thread.join()
        peak.ended.set()
    statuses = ", ".join(f"{count} × {status}" for status, count in Counter(one for one, _ in said).items())
    slowest = max(seconds for _, seconds in said)
    return (
        f"| {name} | {statuses} | {slowest:.1f} | {before:.0f} | {peak.most:.0f} | {beside} | {waited:.2f} |"
    )


def idle_connections(count: int = 300, seconds: float = 12) -> str:
    """How many half-open connections a service still has after a while."""
    with service() as (process, port):
        opened = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for one in opened[::2]:
            one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        _, waited = ask(port, form(LESION.read_bytes()))
        time.sleep(seconds)
        left = sum(one.status == psutil.CONN_ESTABLISHED for one in process.net_connections())
    return (
        f"Of {count} connections that send nothing or half a head, {left} are left after {seconds:g} s;"
        f" a plain request beside them took {waited:.2f} s."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lines = heading("The service against requests made to exhaust it", "service_limits.py", "")
    lines += [
        "| sent at once | answers | slowest, s | MB before | MB at most | one picture beside it | its s |",
        "|---|---|---|---|---|---|---|",
        *(row(name, bodies) for name, bodies in attacks()),
        "",
        idle_connections(),
    ]
    print("\n".join(lines))
    if options.write:
        write_text(RESULTS, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
