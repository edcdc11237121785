"""Engines of inference against each other: file, latency, throughput, memory and cold start.

The uncut network of each backbone at its own size with a layer of seven logits, random weights, uint8 pixels
in, normalisation inside; `keras` is the same network of keras.applications on its PyTorch backend, the form
of the paper (it has no EfficientNet-Lite). Each engine runs in a process of its own, which gives its peak
memory and the time from its start to its first answer. Then the processes of one backbone and number of
threads take turns, in short blocks, so that all meet the same machine; figures are medians over the blocks,
ratios are of medians. CPU time depends less on what else the machine does than the clock does.

    python benchmarks/inference_speed.py --write [--python PYTHON]

prints the tables and writes docs/results/inference_speed.csv and .md. `--python` names an interpreter with
litert-torch and ai-edge-litert, where they are not installed next to this one; without either, LiteRT is left
out. A run that was stopped goes on where it was: `--work` keeps the files and the cells.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inference_engines import CLASSES_OF_KERAS, ENGINES, NETWORKS, prepare, serve

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "inference_speed.md"
THREADS = (1, 2)
BATCH = 32
BLOCKS, SECONDS = 5, 1.0
"""Blocks of an engine (of batches, one fewer), and their least length; the first is thrown away."""
SLOW = 2.0
"""Seconds of a batch above which a cell has two blocks and none is thrown away."""


class Worker:
    """An engine in a process of its own, which works on request and otherwise waits."""

    def __init__(self, python: str, engine: str, name: str, folder: Path, threads: int) -> None:
        settings = {"OMP_NUM_THREADS": str(threads), "KERAS_BACKEND": "torch"}
        words = [python, __file__, "--serve", engine, name, str(folder), str(threads)]
        before = time.perf_counter()
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | settings | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        self.size_mb = float(self._read()["mb"])
        self.cold = time.perf_counter() - before

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def block(self, batch: int, seconds: float) -> dict[str, Any]:
        """Seconds of each call, CPU seconds of all, and the peak memory so far."""
        assert self.process.stdin is not None
        print(batch, seconds, file=self.process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("result "):
                return json.loads(line.removeprefix("result "))
        raise RuntimeError(f"{' '.join(map(str, self.process.args))} ended without an answer")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="also write docs/results/inference_speed.*")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has LiteRT")
    parser.add_argument("--work", type=Path, default=Path("demo/inference_speed"), help="files and cells")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--serve", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        engine, name, folder, threads = options.serve
        serve(engine, name, Path(folder), int(threads))
        return
    if options.prepare:
        prepare(options.prepare[0], options.prepare[1], Path(options.prepare[2]))
        return
    rows = []
    for name in options.networks:
        folder = options.work / name
        pythons = interpreters(name, options.python)
        for engine, python in pythons.items():
            made(engine, name, folder, python)
        for threads in THREADS:
            cells = folder / f"cells-{threads}.json"
            if not cells.is_file():
                cells.write_text(json.dumps(measured(name, folder, threads, pythons)))
            rows += json.loads(cells.read_text())
        print(table(name, [row for row in rows if row["network"] == name]), flush=True)
    if options.write:
        write(rows, options.python)


def interpreters(name: str, other: str) -> dict[str, str]:
    """Which interpreter runs which engine, of those that can be run."""
    found = dict.fromkeys(ENGINES, sys.executable)
    if name not in CLASSES_OF_KERAS or not find_spec("keras"):
        del found["keras"]
    if not find_spec("openvino"):
        del found["openvino"]
    found["litert"] = other
    if subprocess.run([other, "-c", "import litert_torch"], capture_output=True).returncode:
        del found["litert"]
    return found


def made(engine: str, name: str, folder: Path, python: str) -> None:
    """The engine's files, unless they are there."""
    done = folder / f"{engine}.done"
    if not done.is_file():
        print(f"{name}: file of {engine}", file=sys.stderr, flush=True)
        words = [python, __file__, "--prepare", engine, name, str(folder)]
        settings = {"OMP_NUM_THREADS": "1", "KERAS_BACKEND": "torch", "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(words, check=True, env=os.environ | settings, stdout=subprocess.DEVNULL)
        done.touch()


def measured(name: str, folder: Path, threads: int, pythons: dict[str, str]) -> list[dict[str, Any]]:
    """A row for each engine."""
    print(f"{name}: {threads} threads", file=sys.stderr, flush=True)
    workers = {engine: Worker(python, engine, name, folder, threads) for engine, python in pythons.items()}
    one: dict[str, list[dict[str, Any]]] = {engine: [] for engine in workers}
    many: dict[str, list[dict[str, Any]]] = {engine: [] for engine in workers}
    try:
        for _ in range(BLOCKS):
            for engine, worker in workers.items():
                one[engine].append(worker.block(1, SECONDS))
        slow = False
        for count in range(BLOCKS - 1):
            if slow and count == 2:
                break
            for engine, worker in workers.items():
                many[engine].append(worker.block(BATCH, SECONDS))
                slow = slow or max(many[engine][-1]["calls"]) > SLOW
    finally:
        for worker in workers.values():
            worker.__exit__()
    rows = []
    for engine, worker in workers.items():
        calls = sorted(call for block in one[engine][1:] for call in block["calls"])
        batches = [call for block in many[engine][0 if slow else 1 :] for call in block["calls"]]
        cpu = statistics.median(block["cpu"] / len(block["calls"]) for block in one[engine][1:])
        rows.append(
            {
                "network": name,
                "pixels": NETWORKS[name],
                "threads": threads,
                "engine": engine,
                "file_mb": round(worker.size_mb, 1),
                "b1_p50_ms": round(1000 * statistics.median(calls), 2),
                "b1_p95_ms": round(1000 * calls[int(0.95 * (len(calls) - 1))], 2),
                "b1_cpu_ms": round(1000 * cpu, 2),
                "b32_images_per_s": round(BATCH / statistics.median(batches), 1),
                "peak_mb": round(many[engine][-1]["peak_mb"]),
                "cold_s": round(worker.cold, 2),
                "calls": len(calls),
            }
        )
    eager = next(row for row in rows if row["engine"] == "pytorch")
    for row in rows:
        row["b1_ratio"] = round(eager["b1_p50_ms"] / row["b1_p50_ms"], 2)
        row["b1_cpu_ratio"] = round(eager["b1_cpu_ms"] / row["b1_cpu_ms"], 2)
        row["b32_ratio"] = round(row["b32_images_per_s"] / eager["b32_images_per_s"], 2)
    return rows


HEAD = (
    "threads", "engine", "file MB", "batch 1: p50 ms", "p95 ms", "CPU ms", "batch 32: images/s", "peak MB",
    "cold start s", "× PyTorch, batch 1", "by CPU", "batch 32",
)  # fmt: skip
KEYS = (
    "threads", "engine", "file_mb", "b1_p50_ms", "b1_p95_ms", "b1_cpu_ms", "b32_images_per_s", "peak_mb",
    "cold_s", "b1_ratio", "b1_cpu_ratio", "b32_ratio",
)  # fmt: skip


def table(name: str, rows: list[dict[str, Any]]) -> str:
    """Markdown of one network."""
    lines = [f"## {name}, {NETWORKS[name]} px", "", f"| {' | '.join(HEAD)} |"]
    lines.append("|---:|---|" + "---:|" * (len(HEAD) - 2))
    lines += [f"| {' | '.join(str(row[key]) for key in KEYS)} |" for row in rows]
    return "\n".join([*lines, ""])


def write(rows: list[dict[str, Any]], other: str) -> None:
    """The CSV and the page."""
    from importlib.metadata import version

    from dermlens.files import atomic_path, write_text
    from dermlens.runs import environment

    here = environment()
    asked = "from importlib.metadata import version as v; print(v('ai-edge-litert'), v('litert-torch'))"
    lite = subprocess.run([other, "-c", asked], capture_output=True, text=True).stdout.split()
    versions = {"PyTorch": here["versions"]["torch"], "ONNX Runtime": version("onnxruntime")}
    versions |= {"OpenVINO": version("openvino")} if find_spec("openvino") else {}
    versions |= {"Keras": version("keras")} if find_spec("keras") else {}
    versions |= dict(zip(("LiteRT", "LiteRT Torch"), lite, strict=False))
    lines = [
        "# Speed of inference, engine by engine",
        "",
        f"`python benchmarks/inference_speed.py --write --python PYTHON` on {here['machine']['processor']},"
        f" {os.cpu_count()} CPUs, Python {here['python']}, "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + f". Load of the machine over the last quarter of an hour: {os.getloadavg()[2]:.1f} processes"
        " that want a CPU, this benchmark's one or two among them: where that is more than the CPUs, clock"
        " times are of a shared machine, p95 most of all, and two threads are worth little. Ratios are of"
        " blocks that took turns, and CPU time (of one image, all threads) is the steadier measure.",
        "",
        "The uncut network with seven logits, random weights, uint8 pixels in. LiteRT's file takes one image"
        " at a time; its batch is 32 calls. Keras on its PyTorch backend, `predict_on_batch`; the"
        " paper's TensorFlow is not measured here. int8 as"
        " `dermlens export --format onnx-int8` makes it; its accuracy is that command's matter. Ratios: how"
        " many times as fast as PyTorch, eager, in the same turns; above 1 is faster. Cold start: from the"
        " start of the"
        " process, imports and all, to the first answer.",
        "",
    ]
    for name in dict.fromkeys(row["network"] for row in rows):
        lines.append(table(name, [row for row in rows if row["network"] == name]))
    write_text(RESULTS, "\n".join(lines))
    with (
        atomic_path(RESULTS.with_suffix(".csv")) as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
