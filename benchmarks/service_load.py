"""The service under load: latency, throughput, memory, and whether every answer is the right one.

    python benchmarks/service_load.py --write

starts `dermlens serve` with the model that ships, and measures (1) one client: the median time of an answer
against decoding plus the bare runtime in this process, taking turns; (2) 1, 8 and 64 clients by Locust, each
answer compared with the one that the predictor gives alone; (3) memory over ten minutes at 8 clients; (4)
kill -9 in mid-request, and the time until the next process is ready. Writes docs/results/service_load.md.
"""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import io  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from importlib.resources import files  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402
from heading import heading  # noqa: E402
from locust import FastHttpUser, constant, task  # noqa: E402
from locust.env import Environment  # noqa: E402
from PIL import Image  # noqa: E402

from dermlens.files import write_text  # noqa: E402
from dermlens.predict.network import OnnxNetwork  # noqa: E402
from dermlens.predict.patients import Patient  # noqa: E402
from dermlens.predict.picture import Picture  # noqa: E402
from dermlens.predict.pictures.preprocessing import symmetry  # noqa: E402
from dermlens.predict.predictor import Predictor, shipped_folder  # noqa: E402

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "service_load.md"
EXAMPLES = Path(str(files("dermlens.serve.page"))) / "examples"
PATIENTS = (Patient(), Patient(60, "male", "back"), Patient(30, "female", "face"))
NEAR = 1e-4
"""Largest difference of a probability between an answer from a batch and one alone."""
Question = tuple[bytes, Patient, dict[str, float] | None]


def pictures() -> list[bytes]:
    """The drawn lesions at HAM10000's size, each in four positions."""
    found = []
    for name in ("a", "b", "c", "d"):
        with Image.open(EXAMPLES / f"{name}.jpg") as picture:
            for turn in range(4):
                stream = io.BytesIO()
                picture.resize((600, 450)).rotate(7 * turn).crop((40, 40, 560, 410)).resize((600, 450)).save(
                    stream, "JPEG", quality=95
                )
                found.append(stream.getvalue())
    return found


def questions(predictor: Predictor) -> list[Question]:
    asked = []
    for content in pictures():
        for patient in PATIENTS:
            (one,) = predictor.answers([Picture(content)], [patient])
            asked.append((content, patient, one.p))
    return asked


class Service:
    """`dermlens serve` on a free port."""

    def __enter__(self) -> "Service":
        began = time.perf_counter()
        command = [
            sys.executable,
            "-u",
            "-c",
            "from dermlens.cli.app import main; main()",
            "serve",
            "--port",
            "0",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = next(line for line in self.process.stdout if "listening" in line)
        found = re.search(r"http://\S+", line)
        assert found is not None
        self.address = found[0]
        import urllib.request

        while True:
            try:
                urllib.request.urlopen(f"{self.address}/ready", timeout=2).close()
                break
            except OSError:
                time.sleep(0.02)
        self.seconds = time.perf_counter() - began
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def megabytes(self) -> float:
        service = psutil.Process(self.process.pid)
        family = (service, *service.children(recursive=True))
        return sum(one.memory_info().rss for one in family) / 2**20


def load(
    address: str, clients: int, seconds: float, asked: list[Question], watch: Any = None
) -> dict[str, Any]:
    """So many clients for so long; every answer is compared."""
    outcome: Counter[str] = Counter()
    times: list[float] = []

    class Client(FastHttpUser):
        host = address
        wait_time = constant(0)
        network_timeout = connection_timeout = 60.0

        @task
        def ask(self) -> None:
            content, patient, expected = random.choice(asked)
            words = {"age": patient.age, "sex": patient.sex, "site": patient.site}
            form = {name: str(word) for name, word in words.items() if word not in (None, "unknown")}
            began = time.perf_counter()
            with self.rest_free(content, form) as response:
                times.append(time.perf_counter() - began)
                if response.status_code != 200:
                    outcome[f"status {response.status_code}"] += 1
                    return
                (one,) = response.json()["answers"]
            outcome["right" if alike(one["p"], expected) else "wrong"] += 1

        def rest_free(self, content: bytes, form: dict[str, str]) -> Any:
            return self.client.post(
                "/v1/predict",
                files={"file": ("x.jpg", content, "image/jpeg")},
                data=form,
                catch_response=True,
            )

    environment = Environment(user_classes=[Client])
    runner = environment.create_local_runner()
    runner.start(clients, spawn_rate=clients)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        gevent.sleep(min(5, seconds))
        if watch is not None:
            watch(time.perf_counter() - began)
    spent = time.perf_counter() - began
    runner.quit()
    gevent.sleep(5)  # what the last clients asked for is still being worked on
    quantiles = np.quantile(times, [0.5, 0.95, 0.99]) * 1000
    return {"clients": clients, "rate": len(times) / spent, "ms": quantiles, "outcome": dict(outcome)}


def alike(p: dict[str, float] | None, expected: dict[str, float] | None) -> bool:
    if p is None or expected is None:
        return p is expected
    return max(abs(p[code] - expected[code]) for code in expected) < NEAR


def beside_the_bare_runtime(address: str, predictor: Predictor, rounds: int = 200) -> dict[str, float]:
    """Medians, in ms: the service, decoding plus the bare runtime on the same views, and their difference."""
    import http.client

    document = predictor.document
    bare = OnnxNetwork((shipped_folder() / "model.onnx").read_bytes(), "bare")
    meta = predictor.encode([Patient()])
    content = pictures()[0]
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
        + content
        + b"\r\n--b--\r\n"
    )
    host = address.removeprefix("http://")
    link = http.client.HTTPConnection(host)
    service, runtime = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        link.request("POST", "/v1/predict", body, {"Content-Type": "multipart/form-data; boundary=b"})
        link.getresponse().read()
        service.append(time.perf_counter() - began)
        began = time.perf_counter()
        square = Picture(content).square(document.size, document.crop, document.colour_constancy)[None]
        for index in range(document.views.symmetries):
            bare(symmetry(square, index), meta)
        runtime.append(time.perf_counter() - began)
    ms = [1000 * statistics.median(one) for one in (service, runtime)]
    return {"service": ms[0], "runtime": ms[1], "more": ms[0] - ms[1]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for each number of clients")
    parser.add_argument("--minutes", type=float, default=10, help="of the memory run")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    predictor = Predictor.open()
    asked = questions(predictor)
    lines = heading("The service under load", "service_load.py", "")
    with Service() as service:
        started = service.seconds
        one = beside_the_bare_runtime(service.address, predictor)
        lines += [
            f"One client, one picture of 600 × 450, eight views: {one['service']:.1f} ms, against"
            f" {one['runtime']:.1f} ms for decoding it and running the network alone on the same views:"
            f" **{one['more']:+.1f} ms** (medians of turns).",
            "",
            "| clients | answers/s | p50 ms | p95 ms | p99 ms | right | wrong or lost |",
            "|---|---|---|---|---|---|---|",
        ]
        for clients in (1, 8, 64):
            found = load(service.address, clients, options.seconds, asked)
            right = found["outcome"].pop("right", 0)
            p50, p95, p99 = found["ms"]
            rest = ", ".join(f"{count} {name}" for name, count in found["outcome"].items()) or "0"
            lines.append(
                f"| {clients} | {found['rate']:.1f} | {p50:.0f} | {p95:.0f} | {p99:.0f} | {right} | {rest} |"
            )
            print(lines[-1], flush=True)
        seen = [service.megabytes]
        found = load(
            service.address, 8, 60 * options.minutes, asked, lambda _: seen.append(service.megabytes)
        )
        right = found["outcome"].pop("right", 0)
        tenth = max(1, len(seen) // 10)
        lines += [
            "",
            f"Memory over {options.minutes:g} minutes at 8 clients, {right} right answers and"
            f" {sum(found['outcome'].values())} others: {statistics.mean(seen[:tenth]):.0f} MB in the first"
            f" tenth, {statistics.mean(seen[-tenth:]):.0f} MB in the last, {max(seen):.0f} MB at most.",
        ]
        with gevent.Timeout(0.05, False):
            load(service.address, 8, 1, asked)
        os.kill(service.process.pid, signal.SIGKILL)
    with Service() as again:
        lines += [
            "",
            f"Ready {started:.1f} s after its start; killed in mid-request and started again:"
            f" {again.seconds:.1f} s.",
        ]
    print("\n".join(lines))
    if options.write:
        write_text(RESULTS, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
