"""Images a CPU second, with glibc giving large blocks back and with `keep_memory`.

Each figure is of a process of its own, which does nothing else; CPU seconds, user and system, depend little
on what other processes do. MobileNetV2 at 192 px, one thread, random pixels.

    OMP_NUM_THREADS=1 python benchmarks/kept_memory.py --write

prints the table and writes docs/results/kept_memory.md.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from heading import heading

from dermlens.files import write_text
from dermlens.models.classifier import build_classifier
from dermlens.models.config import ModelConfig
from dermlens.training.machine import keep_memory

RESULT = Path(__file__).parent.parent / "docs" / "results" / "kept_memory.md"
SIDE, IMAGES = 192, 256
JOBS = ("predict", "train")
BATCHES = (16, 32, 64)


def speed(job: str, batch: int, *, keep: bool) -> float:
    """Images a CPU second, measured in this process."""
    if keep:
        keep_memory()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = ModelConfig(backbone="mobilenet_v2", cut="full", attention="none", pool="gap", metadata="none")
    model = build_classifier(config, num_classes=7, meta_width=0, size=SIDE)
    model = model.to(memory_format=torch.channels_last).train(job == "train")
    x_BCHW = torch.randint(0, 256, (batch, SIDE, SIDE, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    target_B = torch.arange(batch) % 7

    def step() -> None:
        if job == "train":
            F.cross_entropy(model(x_BCHW)[0], target_B).backward()
        else:
            with torch.inference_mode():
                model(x_BCHW)

    step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(IMAGES // batch):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return IMAGES / (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def measured(job: str, batch: int, *, keep: bool) -> float:
    """The same, in a process of its own."""
    command = [sys.executable, __file__, "--job", job, "--batch", str(batch), *(["--keep"] if keep else [])]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def as_text() -> str:
    """The table, with machine and command."""
    lines = [
        *heading("Memory that is kept", "kept_memory.py", ""),
        "Images a CPU second (user and system), MobileNetV2 at 192 px, one thread; each figure of a process"
        " of its own. Kept: glibc is asked to keep freed memory (`dermlens.training.machine`), as training"
        " and prediction here do.",
        "",
        "| | batch | given back | kept | ratio |",
        "|---|---:|---:|---:|---:|",
    ]
    for job in JOBS:
        for batch in BATCHES:
            without, kept = (measured(job, batch, keep=keep) for keep in (False, True))
            lines.append(f"| {job} | {batch} | {without:.1f} | {kept:.1f} | {kept / without:.2f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    parser.add_argument("--job", choices=JOBS, help="measure this alone, in this process")
    parser.add_argument("--batch", type=int, default=BATCHES[0])
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    if options.job:
        print(speed(options.job, options.batch, keep=options.keep))
        return
    text = as_text()
    print(text)
    if options.write:
        write_text(RESULT, text)


if __name__ == "__main__":
    main()
