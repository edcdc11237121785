"""Training through the whole pipeline against a bare loop of the same network on one batch held in memory.

The pipeline is what `dermlens train` runs: pixel cache, random views, Lightning with its callbacks, metrics.
The bare loop is forward, loss, backward and optimiser step of a copy of the network, and nothing else. Blocks
of a few steps of each alternate in one process, so that both meet the same machine; ratios are of medians.
The peak memory of trainings that differ in images and in batch, and the time from a command to its first
step, are measured in processes of their own. Images are synthetic, and repeated: only their number matters.

    OMP_NUM_THREADS=2 python benchmarks/training_speed.py --write

prints the tables and writes docs/results/training_speed.md.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "training_speed.md"
BATCH = 32
SPEEDS = [
    # backbone, side, steps a block, measured blocks
    ("mobilenet_v3_small", 128, 10, 16),
    ("mobilenet_v3_large", 224, 3, 15),
]
WARM_UP = 2  # blocks of each that are run and not measured
MEMORIES = [(2000, 32), (8000, 32), (2000, 64)]  # images, batch size


class EnoughError(Exception):
    """All that was to be measured is measured."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="also write docs/results/training_speed.md")
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)  # one measurement, in this process
    options = parser.parse_args()
    if options.measure:
        name, scratch, *words = options.measure
        result = MEASURES[name](Path(scratch), *words)
        print("result", json.dumps(result), flush=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        speeds = [run("speed", scratch, *case) for case in SPEEDS]
        memories = [run("memory", scratch, *case) for case in MEMORIES]
        starts = [run("start", scratch) for _ in range(3)]
    text = as_text(speeds, memories, starts)
    print(text)
    if options.write:
        from dermlens.files import write_text

        write_text(RESULTS, text)


def run(name: str, scratch: Path, *words: object) -> dict[str, Any]:
    """One measurement in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(scratch), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.rsplit("result ", 1)[1])


def folder_of(images: int, scratch: Path) -> Path:
    """A data set of so many images: synthetic ones, linked under many names."""
    from dermlens.data.synthetic.folder import write_synthetic

    folder = scratch / f"images-{images}"
    if folder.is_dir():
        return folder
    source = scratch / "source"
    if not source.is_dir():
        write_synthetic(source, lesions=60, size=(225, 300))
    rows = list(csv.DictReader((source / "HAM10000_metadata.csv").open(encoding="utf-8")))
    (folder / "images").mkdir(parents=True)
    with (folder / "HAM10000_metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        for number in range(images):
            row = rows[number % len(rows)]
            name = f"ISIC_{number:07d}"
            os.link(source / "images" / f"{row['image_id']}.jpg", folder / "images" / f"{name}.jpg")
            writer.writerow(row | {"image_id": name, "lesion_id": f"HAM_{number:07d}"})
    return folder


def recipe_of(backbone: str, side: int, batch: int) -> Any:
    """The demonstration's recipe, on a split by image, which lets repeated images pass."""
    from dermlens.recipe import load_recipe

    settings = {
        "data.size": side,
        "split.protocol": "paper",
        "model.backbone": backbone,
        "train.batch_size": batch,
        "train.epochs": 1,
    }
    return load_recipe("demo", [f"{key}={value}" for key, value in settings.items()])


def fit_in(scratch: Path, recipe: Any, images: int) -> None:
    from dermlens.training.fit import fit

    out = Path(tempfile.mkdtemp(dir=scratch)) / "run"
    fit(recipe, folder_of(images, scratch), out=out, device="cpu", cache=scratch / "cache")


def measure_speed(scratch: Path, backbone: str, side: str, steps: str, blocks: str) -> dict[str, Any]:
    """Seconds a step of the pipeline and of the bare loop."""
    from dermlens.training import train

    alternate = alternation(int(steps), int(blocks))
    trainer_of = train._trainer
    train._trainer = lambda *args: with_callback(trainer_of, alternate, *args)
    images = (int(blocks) + WARM_UP + 1) * int(steps) * BATCH * 10 // 9 + 100
    with suppress(EnoughError):
        fit_in(scratch, recipe_of(backbone, int(side), BATCH), images)
    pipeline, bare = (statistics.median(seconds) for seconds in (alternate.pipeline, alternate.bare))
    pairs = [b / p for b, p in zip(alternate.bare, alternate.pipeline, strict=True)]
    return {
        "backbone": backbone,
        "side": int(side),
        "pipeline": BATCH / pipeline,
        "bare": BATCH / bare,
        "ratio": bare / pipeline,
        "pairs": [min(pairs), max(pairs)],
    }


def with_callback(
    trainer_of: Any, alternate: Any, run: Any, recipe: Any, hardware: Any, callbacks: Any, logger: Any
) -> Any:
    return trainer_of(run, recipe, hardware, [*callbacks, alternate], logger)


def alternation(steps: int, blocks: int) -> Any:
    """A callback that after each block of the pipeline runs one of the bare loop."""
    import lightning.pytorch as pl

    from dermlens.training.optimisers import make_optimizer

    class Alternation(pl.Callback):
        def __init__(self) -> None:
            self.pipeline: list[float] = []
            self.bare: list[float] = []

        def on_train_start(self, _trainer: Any, pl_module: Any) -> None:
            self.network = copy.deepcopy(pl_module.model).train()
            self.optimizer = make_optimizer(pl_module.optimizer_config, self.network)

        def on_train_batch_start(self, _trainer: Any, _pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 0:
                self.batch = batch
                self.began = time.perf_counter()

        def on_train_batch_end(
            self, _trainer: Any, pl_module: Any, _outputs: Any, _batch: Any, batch_idx: int
        ) -> None:
            if (batch_idx + 1) % steps:
                return
            middle = time.perf_counter()
            for _ in range(steps):
                self.optimizer.zero_grad(set_to_none=True)
                logits = self.network(self.batch["image"], self.batch["meta"])[0]
                pl_module.loss(logits, self.batch["target"]).backward()
                self.optimizer.step()
            end = time.perf_counter()
            if (batch_idx + 1) // steps > WARM_UP:
                self.pipeline.append((middle - self.began) / steps)
                self.bare.append((end - middle) / steps)
            if len(self.bare) == blocks:
                raise EnoughError
            self.began = time.perf_counter()

    return Alternation()


def measure_memory(scratch: Path, images: str, batch: str) -> dict[str, Any]:
    """Peak resident memory of an epoch with its validation and predictions."""
    fit_in(scratch, recipe_of("mobilenet_v3_small", 96, int(batch)), int(images))
    return {
        "images": int(images),
        "batch": int(batch),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure_start(scratch: Path) -> dict[str, Any]:
    """Seconds from the start of the process to its first training step, the cache being there."""
    from dermlens.training.task import LesionTask

    def first_step(*_: Any) -> None:
        raise EnoughError

    LesionTask.training_step = first_step
    with suppress(EnoughError):
        fit_in(scratch, recipe_of("mobilenet_v3_small", 96, BATCH), 8000)
    clock_ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return {"seconds": uptime - clock_ticks / os.sysconf("SC_CLK_TCK")}


MEASURES = {"speed": measure_speed, "memory": measure_memory, "start": measure_start}


def as_text(speeds: list[Any], memories: list[Any], starts: list[Any]) -> str:
    """The tables, with machine and command."""
    from heading import heading

    lines = [
        *heading("Speed and memory of training", "training_speed.py", ""),
        "The pipeline is cache, random views, Lightning and metrics; the bare loop is the same network on one"
        f" batch of {BATCH} in memory, channels-last in both. Blocks of steps alternate; medians.",
        "",
        "| network | side | pipeline, images/s | bare loop, images/s | ratio | lowest and highest pair |",
        "|---|---|---|---|---|---|",
        *(
            f"| {s['backbone']} | {s['side']} | {s['pipeline']:.1f} | {s['bare']:.1f}"
            f" | **{s['ratio']:.3f}** | {s['pairs'][0]:.3f}–{s['pairs'][1]:.3f} |"
            for s in speeds
        ),
        "",
        "Peak resident memory of one epoch, its validation and predictions (mobilenet_v3_small at 96):",
        "",
        "| images | batch | MB |",
        "|---|---|---|",
        *(f"| {m['images']:,} | {m['batch']} | {m['peak_mb']:.0f} |" for m in memories),
        "",
        "From the start of the process to its first training step, 8,000 images, the cache being there:"
        f" {', '.join(format(s['seconds'], '.1f') for s in starts)} s.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
