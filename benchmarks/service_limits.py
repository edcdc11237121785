"""The service against requests made to exhaust it: memory of all its processes, and how long others wait.

    python benchmarks/service_limits.py --write

starts `dermlens serve` anew for each attack, sends it from another process, and meanwhile asks /health and
one small picture again and again. Bars: 1 GB, 250 ms for /health, 2 s for the picture. Writes
docs/results/service_limits.md.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
from heading import heading
from PIL import Image

from dermlens.files import write_text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import hostile  # noqa: E402 (its files are the tests' too)

RESULTS = ROOT / "docs" / "results" / "service_limits.md"
LESION = Path(str(files("dermlens.serve.page"))) / "examples" / "a.jpg"
COMMAND = [sys.executable, "-u", "-c", "from dermlens.cli.app import main; main()", "serve", "--port", "0"]
Body = tuple[bytes, str]
SIDE = 6324
"""Of a square of just under the 40 million pixels that are taken."""
MEGABYTES, HEALTH, PICTURE = 1024, 0.25, 2.0
"""The bars."""
LARGE = 31 * 2**20
CLIENTS, FLOOD_SECONDS = 16, 10.0
MOST_SECONDS = 60.0
"""That an attack is watched."""


@contextmanager
def service(*options: str) -> Iterator[tuple[psutil.Process, int]]:
    """A process and its port, once it answers."""
    running = subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert running.stdout is not None
    try:
        found = next(found for line in running.stdout if (found := re.search(r"http://.+:(\d+)", line)))
        port = int(found[1])
        for _ in range(3):
            ask(port, hostile.form(LESION.read_bytes()))
        yield psutil.Process(running.pid), port
    finally:
        running.terminate()
        with suppress(subprocess.TimeoutExpired):
            running.wait(5)
        running.kill()
        running.wait()


def megabytes(process: psutil.Process) -> float:
    """Resident memory of a process and all below it; pages that several share count for each."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):
            total += one.memory_info().rss
    return total / 2**20


class Watch(threading.Thread):
    """Does something again and again, and keeps the largest number that it gives."""

    def __init__(self, what: Callable[[], float], pause: float) -> None:
        super().__init__(daemon=True)
        self.what, self.pause, self.most, self.ended = what, pause, 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.ended.wait(self.pause):
            self.most = max(self.most, self.what())

    def end(self) -> float:
        self.ended.set()
        self.join()
        return self.most


def ask(port: int, body: Body | None) -> tuple[str, float]:
    """Status and seconds; of /health where there is no body."""
    began = time.perf_counter()
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        if body is None:
            link.request("GET", "/health")
        else:
            link.request("POST", "/v1/predict", body[0], {"Content-Type": body[1]})
        said = str(link.getresponse().status)
    except OSError as error:
        said = type(error).__name__
    finally:
        link.close()
    return said, time.perf_counter() - began


def flood(port: int, piece: bytes) -> tuple[str, float]:
    """A body in tiny chunks without end, from connection after connection."""
    began = time.perf_counter()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {hostile.JSON}\r\n"
    content = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
    while time.perf_counter() - began < FLOOD_SECONDS:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as link:
            link.sendall(content)
            while time.perf_counter() - began < FLOOD_SECONDS:
                link.sendall(hostile.chunks(2**18, piece))
    return "flood", time.perf_counter() - began


def drip(port: int, sent: int) -> tuple[str, float]:
    """A body of 31 MB of which so many bytes come at once and then one a second."""
    began = time.perf_counter()
    head = f"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: {hostile.JSON}\r\n"
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(head.encode() + f"Content-Length: {LARGE}\r\n\r\n".encode() + bytes(sent))
        while time.perf_counter() - began < FLOOD_SECONDS:
            time.sleep(1)
            link.sendall(b"x")
    return "drip", time.perf_counter() - began


def sent_one(port: int, body: Body | bytes | int) -> tuple[str, float]:
    if isinstance(body, int):
        return drip(port, body)
    return flood(port, body) if isinstance(body, bytes) else ask(port, body)


def send_all(port: int, name: str, results: Any) -> None:
    """What the attacking process does."""
    sent = dict(attacks())[name]
    bodies = sent() if callable(sent) else sent
    said: list[tuple[str, float]] = []
    threads = [
        threading.Thread(target=lambda one: said.append(sent_one(port, one)), args=(body,), daemon=True)
        for body in bodies
    ]
    results.put("sending")
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(MOST_SECONDS)
    results.put(said)


def flat(kind: str, mode: str = "RGB", **options: int) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (SIDE, SIDE), (200, 150, 140, 90)[: len(mode)]).save(stream, kind, **options)
    return stream.getvalue()


def in_json(*pictures: bytes) -> Body:
    said = {"images": [base64.b64encode(one).decode() for one in pictures]}
    return json.dumps(said).encode(), hostile.JSON


def attacks() -> Iterator[tuple[str, Callable[[], list[Any]]]]:
    """What is sent at once; made only when it is sent."""
    form = hostile.form
    yield "16 TIFFs of 178 bytes, a tile of 26752 × 26752", lambda: [form(hostile.tiff_tile())] * 16
    yield "16 RLE8 BMPs of 39,999,999 × 1", lambda: [form(hostile.bmp_runs(39_999_999, 1))] * 16
    yield "16 RLE8 BMPs of 2000 × 2000", lambda: [form(hostile.bmp_runs(2000, 2000, 8000))] * 16
    yield (
        "4 DICOM RLE of 31 MB, 15 overlapping segments",
        lambda: [form(hostile.dicom_overlapping(LARGE))] * 4,
    )
    yield (
        "4 DICOM RLE of 31 MB, codes of nothing",
        lambda: [form(hostile.dicom_nothing(LARGE, 3200, 3200))] * 4,
    )
    yield "4 DICOM RLE of 18 MB, a code a pixel", lambda: [form(run_lengths(1700))] * 4
    yield (
        "2 PNGs of 39,999,999 × 1 and 2 of 1 × 39,999,999",
        lambda: [form(one) for one in [hostile.png(39_999_999, 1), hostile.png(1, 39_999_999, mode="L")] * 2],
    )
    yield (
        "2 PNGs of 65,535 × 610 and 2 of 610 × 65,535",
        lambda: [form(one) for one in [hostile.png(65_535, 610), hostile.png(610, 65_535)] * 2],
    )
    yield "4 PNGs of 2.6 million chunks", lambda: [form(hostile.png_chunks(2_600_000))] * 4
    yield "4 JPEGs of 31 MB of rubbish between segments", lambda: [form(hostile.jpeg_junk(LARGE))] * 4
    yield "2 JPEGs of 40 megapixels, 100 scans", lambda: [form(hostile.jpeg_scans(SIDE, 100))] * 2
    yield "2 JPEGs of 40 megapixels, 2500 scans", lambda: [form(hostile.jpeg_scans(SIDE, 2500))] * 2
    yield "16 JPEGs of 4 megapixels, 100 scans", lambda: [form(hostile.jpeg_scans(2000, 100))] * 16
    yield "4 JSONs of 31 MB, `[[[[]]]],`", lambda: [hostile.json_lists(LARGE)] * 4
    yield '4 JSONs of 31 MB, `{"a":0},`', lambda: [hostile.json_objects(LARGE)] * 4
    yield "4 JSONs of 2.9 million keys", lambda: [hostile.json_keys(LARGE)] * 4
    yield "4 JSONs of 31 MB, an image in escapes", lambda: [hostile.json_escapes(LARGE)] * 4
    yield "4 forms of 600,000 fields", lambda: [hostile.form_parts(600_000)] * 4
    yield "4 forms of 31 MB of begun boundaries", lambda: [hostile.form_almost(LARGE)] * 4
    yield "16 floods of chunks of 1 byte", lambda: [b"1\r\nx\r\n"] * CLIENTS
    yield (
        "16 floods of chunks of 1 byte with extensions",
        lambda: [b"1;" + b"a" * 60 + b"\r\nx\r\n"] * CLIENTS,
    )
    yield "200 bodies that drip", lambda: [0] * 200
    yield "4 bodies of 31 MB that drip at their end", lambda: [LARGE - 100] * 4
    yield "8 forms of 31 MB of noise", lambda: [form(os.urandom(LARGE))] * 8
    yield "8 JSONs of 31 MB of noise", lambda: [in_json(os.urandom(LARGE * 3 // 4))] * 8
    yield "one request of 16 PNGs of 40 megapixels", lambda: [form(*[flat("PNG")] * 16)]
    yield "8 requests of a transparent PNG of 40 megapixels", lambda: [form(flat("PNG", "RGBA"))] * 8


def run_lengths(side: int) -> bytes:
    """Three honest segments of the worst packing, a code for every pixel."""
    third = 2 * side * side
    begins = [64 + n * third for n in range(3)]
    frame = hostile.struct.pack("<16I", 3, *begins, *[0] * 12) + b"\0\x05" * (3 * side * side)
    return hostile.dicom(side, side, [frame])


def row(name: str) -> str:
    """A line of the table."""
    small = hostile.form(LESION.read_bytes())
    statuses: Counter[str] = Counter()

    def picture() -> float:
        said, seconds = ask(port, small)
        statuses[said] += 1
        return seconds

    spawning = multiprocessing.get_context("spawn")
    with service() as (process, port):
        before = megabytes(process)
        results: Any = spawning.Queue()
        attacking = spawning.Process(target=send_all, args=(port, name, results), daemon=True)
        attacking.start()
        results.get(timeout=300)
        memory = Watch(lambda: megabytes(process), 0.02)
        health = Watch(lambda: ask(port, None)[1], 0.05)
        small_picture = Watch(picture, 0.1)
        said = results.get(timeout=2 * MOST_SECONDS)
        time.sleep(0.5)
        measured = memory.end(), health.end(), small_picture.end()
        attacking.join()
    counted = Counter(one for one, _ in said)
    answers = ", ".join(f"{count} × {status}" for status, count in sorted(counted.items()))
    slowest = max((seconds for _, seconds in said), default=0.0)
    good = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
    bars = zip(measured, (MEGABYTES, HEALTH, PICTURE), strict=True)
    kept = "yes" if all(value < bar for value, bar in bars) and set(statuses) <= {"200"} else "**no**"
    return (
        f"| {name} | {answers} | {slowest:.1f} | {before:.0f} | {measured[0]:.0f} | {1000 * measured[1]:.0f}"
        f" | {good} | {measured[2]:.2f} | {kept} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--only", default="", metavar="WORD", help="Attacks whose name has it.")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    lines = heading("The service against requests made to exhaust it", "service_limits.py", "")
    lines += [
        "Memory is of the service and all its processes, shared pages counted for each. `/health` and one"
        " small picture are asked again and again at the same time."
        f" Bars: {MEGABYTES} MB, {1000 * HEALTH:.0f} ms, {PICTURE:g} s."
        " The attacking process uses the same cores. So may others: the load of the machine was"
        f" {load:.1f} before the first attack.",
        "",
        "| sent at once | answers | slowest, s | MB before | MB at most | /health at most, ms"
        " | pictures at the same time | slowest of them, s | within the bars |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (name for name, _ in attacks() if options.only in name):
        lines.append(row(name))
        print(lines[-1], flush=True)
    if options.write:
        write_text(RESULTS, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
