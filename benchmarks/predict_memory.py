"""Peak memory of `dermlens predict FOLDER --out FILE.csv` for a few and for many real images.

Each figure is of a process of its own, the highest resident set that Linux saw of it. The shipped model, one
thread. DATA is the folder of HAM10000; its first images by name are taken.

    OMP_NUM_THREADS=1 python benchmarks/predict_memory.py DATA --write

prints the table and writes docs/results/predict_memory.md.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from dermlens.files import write_text

RESULT = Path(__file__).parent.parent / "docs" / "results" / "predict_memory.md"
COUNTS = (500, 2500)


def peak(folder: Path) -> float:
    """MB that this process and the one that decodes held at most, once they have answered for a folder."""
    from dermlens.cli.app import main as dermlens

    sys.argv = ["dermlens", "predict", str(folder), "--out", str(folder / "answers.csv")]
    try:
        dermlens()
    except SystemExit as end:
        if end.code:
            raise
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return (int(found[1]) + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def measured(images: list[Path]) -> tuple[float, float]:
    """Peak MB and images a second, in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for image in images:
            (folder / image.name).symlink_to(image.resolve())
        command = [sys.executable, __file__, str(folder), "--job"]
        began = time.monotonic()
        own = os.environ | {"DERMLENS_FOLLOW_LINKS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=own)
        speed = len(images) / (time.monotonic() - began)
        answered = len((folder / "answers.csv").read_text(encoding="utf-8").splitlines()) - 1
    assert answered == len(images), f"{answered} answers to {len(images)} images"
    return float(done.stdout.splitlines()[-1]), speed


def as_text(data: Path) -> str:
    """The table, with machine, command and date."""
    from heading import heading

    images = sorted((data / "images").rglob("*.jpg"))
    today = datetime.now(UTC).date()
    lines = [
        *heading("Memory of a long prediction", "predict_memory.py DATA", f"; {today}"),
        "`dermlens predict FOLDER --out FILE.csv` with the shipped model on the first images of HAM10000"
        " by name, each run a process of its own; peak is the highest resident set, that of the process"
        " that decodes added. What grows with"
        " the folder is the list of its files. Other processes ran on the machine, which the speed shows and"
        " the memory does not.",
        "",
        "| images | peak, MB | images a second |",
        "|---:|---:|---:|",
    ]
    for count in COUNTS:
        memory, speed = measured(images[:count])
        lines.append(f"| {count:,} | {memory:.1f} | {speed:.1f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder of HAM10000")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    parser.add_argument("--job", action="store_true", help="answer for DATA alone, in this process")
    options = parser.parse_args()
    if options.job:
        print(peak(options.data))
        return
    text = as_text(options.data)
    print(text)
    if options.write:
        write_text(RESULT, text)


if __name__ == "__main__":
    main()
