"""Training through the whole pipeline against a bare loop of the same network on one batch held in memory.

The pipeline is what `dermlens train` runs: pixel cache, random views, Lightning with all callbacks, metrics.
The bare loop is forward, loss, backward and optimiser step, and nothing else. Blocks of a few steps of each
alternate within one run of the pipeline, so that both see the same machine; the ratio is of medians.

    OMP_NUM_THREADS=2 python benchmarks/training_speed.py --write

measures speed, the peak memory of a training of one and of four times as many images, and the time from the
command to its first step, and writes docs/results/training_speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "training_speed.md"
CASES = [
    # backbone, side, steps a block, blocks of each kind
    ("mobilenet_v3_small", 128, 10, 8),
    ("mobilenet_v3_large", 224, 2, 6),
]
BATCH = 32


def recipe_for(backbone: str, side: int, epochs: int = 1) -> Any:
    from dermlens.recipe import load_recipe

    settings = {
        "data.size": side,
        "model.backbone": backbone,
        "train.batch_size": BATCH,
        "train.epochs": epochs,
        "train.monitor_role": "none",
        "train.keep": "last",
        "split.selection": 0.05,
        "split.calibration": 0.05,
        "split.test": 0.05,
    }
    return load_recipe("demo", [f"{key}={value}" for key, value in settings.items()])


class Enough(Exception):
    """All blocks are measured."""


def measure_speed(backbone: str, side: int, steps: int, blocks: int, data: Path, scratch: Path) -> dict[str, float]:
    """Median seconds a step of the pipeline and of the bare loop, in alternating blocks of one process."""
    import lightning.pytorch as pl
    import torch

    from dermlens.training import train as module
    from dermlens.training.fit import fit
    from dermlens.training.optimisers import make_optimizer
    from dermlens.training.task import LesionTask

    recipe = recipe_for(backbone, side, epochs=1000)
    torch.manual_seed(0)
    seconds: dict[str, list[float]] = {"pipeline": [], "bare": []}

    class Alternate(pl.Callback):
        """After each block of the pipeline, runs one of a twin network by itself."""

        def __init__(self) -> None:
            self.began, self.count, self.twin = 0.0, -2 * steps, None  # two blocks to warm up

        def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
            import copy

            assert isinstance(pl_module, LesionTask)
            self.twin = copy.deepcopy(pl_module.model)
            self.optimizer = make_optimizer(recipe.train.optimizer, self.twin)
            self.loss = pl_module.loss

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if len(batch["target"]) < BATCH:  # the short batch at an epoch's end is no step like the others
                self.count, self.began = self.count - self.count % steps, time.perf_counter()
                return
            self.count += 1
            if self.count % steps:
                return
            if self.count > 0 and self.began:
                seconds["pipeline"].append((time.perf_counter() - self.began) / steps)
            bare = self.block(batch)
            if self.count > 0:
                seconds["bare"].append(bare)
            if len(seconds["pipeline"]) >= blocks:
                raise Enough
            self.began = time.perf_counter()

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.began = time.perf_counter()
            self.count -= self.count % steps

        def block(self, batch: dict[str, torch.Tensor]) -> float:
            began = time.perf_counter()
            for _ in range(steps):
                self.optimizer.zero_grad(set_to_none=True)
                logits = self.twin(batch["image"], batch["meta"])[0]
                self.loss(logits, batch["target"]).backward()
                self.optimizer.step()
            return (time.perf_counter() - began) / steps

    trainer_of = module._trainer
    module._trainer = lambda run, recipe, hardware, callbacks, logger: trainer_of(
        run, recipe, hardware, [Alternate(), *callbacks], logger
    )
    out = Path(tempfile.mkdtemp(dir=scratch)) / "run"
    try:
        fit(recipe, data, out=out, device="cpu", cache=scratch / "cache")
    except Enough:
        pass
    finally:
        module._trainer = trainer_of
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = [bare / piped for bare, piped in zip(seconds["bare"], seconds["pipeline"], strict=True)]
    return medians | {
        "ratio": medians["bare"] / medians["pipeline"],
        "lowest_pair": min(pairs),
        "highest_pair": max(pairs),
        "blocks": blocks,
        "steps": steps,
    }


def measure_memory(data: Path, scratch: Path) -> dict[str, float]:
    """Peak resident memory of one epoch in this process, in MB."""
    from dermlens.training.fit import fit

    recipe = recipe_for("mobilenet_v3_small", 64)
    run = fit(recipe, data, out=Path(tempfile.mkdtemp(dir=scratch)) / "run", device="cpu", cache=scratch / "cache")
    images = sum(run.read_record()["counts"]["train"].values())
    return {"images": images, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measure_start(data: Path, scratch: Path) -> dict[str, float]:
    """Seconds from the start of this process to its first training step, the cache being there."""
    from dermlens.training.fit import fit
    from dermlens.training.task import LesionTask

    def training_step(self: Any, batch: Any, batch_idx: int) -> None:
        raise Enough

    LesionTask.training_step = training_step
    try:
        fit(recipe_for("mobilenet_v3_small", 128), data, out=Path(tempfile.mkdtemp(dir=scratch)) / "run", device="cpu", cache=scratch / "cache")
    except Enough:
        pass
    ticks = float(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    up = float(Path("/proc/uptime").read_text().split()[0])
    return {"seconds": up - ticks / os.sysconf("SC_CLK_TCK")}
