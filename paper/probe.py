"""A few steps of a system at its native size: that it runs, how long a step takes, how long a training would.

The steps are those of a training: images of its split, its preprocessing, augmentation, loss, optimiser and
batch. Only as many images are decoded as they need. Weights are random: speed does not depend on them.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import torch

from dermlens.data.manifest import Split
from dermlens.data.predictions import write_csv
from dermlens.data.split import resolve_split
from dermlens.data.table import read_configured
from dermlens.files import exclusive
from dermlens.models.cuts import build_backbone
from dermlens.models.summary import count, depth
from dermlens.models.table import BACKBONES
from dermlens.recipe import Recipe, load_recipe
from dermlens.runs import environment
from dermlens.studies.matrix import epoch_size
from dermlens.training.inputs import EpochBatches, Inputs, RolePlan, read_inputs
from dermlens.training.machine import resolve_device
from dermlens.training.task import LesionTask
from dermlens.training.train import class_weights_of, make_task, quiet
from paper.study import System, load_systems, read_published, recipe_of

NUMBERS = (
    "steps_per_epoch", "seconds_per_step", "hours", "latency_ms_p50", "trainable_parameters", "depth",
)  # fmt: skip
STEPS = 3
FORWARDS = 20
MB = 2**20
"""As Keras's documentation counts, from which the paper has its sizes."""
COLUMNS = (
    "system", "recipe", "size", "batch_size", "trainable_parameters", "total_parameters", "size_mb", "depth",
    "steps", "seconds_per_step", "steps_per_epoch", "epochs", "hours", "latency_ms_p50", "latency_ms_p95",
    "threads", "device", "machine", "dermlens", "timed_batch",
)  # fmt: skip

Row = dict[str, Any]


def probe(system: System, data: Path, *, device: str = "auto") -> Row:
    """Train for a few steps, then predict one image at a time.

    Args:
        system: which.
        data: the data folder.
        device: as for `fit`.

    Returns:
        `COLUMNS`: parameters (total as Keras counts it), megabytes of them in 32 bits, layers with weights,
        median seconds a step after one to warm up, steps of an epoch, hours of `epochs` epochs (without what
        predictions take), milliseconds an image at batch 1; and the batch that was timed, by which a step of
        the whole batch is reckoned in proportion.

    Raises:
        UserError: the data do not allow it.
        RuntimeError: a step's loss is not finite.
    """
    batch = load_recipe(system.recipe).train.batch_size
    timed = system.timed_batch or batch
    overrides = ("model.weights=none", f"train.batch_size={timed}")
    recipe = recipe_of(system, short=False, seed=0, overrides=overrides)
    images = _sorted(recipe, data)
    with TemporaryDirectory() as cache:
        inputs = read_inputs(recipe, _few(images, timed * (STEPS + 1)), cache_root=Path(cache))
        task = make_task(recipe, inputs, class_weights_of(recipe, inputs))
        seconds = _steps(recipe, inputs, task, device) * batch / timed
        latency = _latency(inputs, task, device)
    steps_per_epoch = math.ceil(epoch_size(recipe, images) / batch)
    trainable, total = count(task.model)
    facts = environment()
    values = (
        system.id, system.recipe, inputs.size, batch, trainable, total, total * 4 / MB,
        depth(task.model.backbone), STEPS, seconds, steps_per_epoch, system.epochs,
        seconds * steps_per_epoch * system.epochs / 3600, *np.quantile(latency, [0.5, 0.95]) * 1000,
        torch.get_num_threads(), resolve_device(device), facts["machine"]["processor"],
        facts["versions"]["dermlens"], timed,
    )  # fmt: skip
    return dict(zip(COLUMNS, values, strict=True))


def write_probe(path: Path, row: Mapping[str, Any]) -> None:
    """Put a row into probes.csv, in place of the system's old one; other processes may do so at once."""
    with exclusive(path):
        rows = read_probes(path) | {row["system"]: dict(row)}
        order = [name for name in load_systems() if name in rows]
        known = order + [name for name in rows if name not in order]
        table = pd.DataFrame([rows[name] for name in known], columns=list(COLUMNS))
        write_csv(path, table, digits=4)


def read_probes(path: Path) -> dict[str, Row]:
    """The rows of probes.csv by system; none where there is no file."""
    if not path.is_file():
        return {}
    rows = read_published(path, ["system", *NUMBERS], NUMBERS).to_dict("records")
    return {str(row["system"]): {str(name): value for name, value in row.items()} for row in rows}


def measure_uncut() -> pd.DataFrame:
    """Table 4: megabytes, millions of parameters and layers with weights of the uncut networks."""
    rows = []
    for name, entry in BACKBONES.items():
        if entry.published.depth is not None:
            with torch.device("meta"):
                network = build_backbone(name, "plain")
            _, total = count(network)
            rows.append((name, total * 4 / MB, total / 1e6, depth(network)))
    return pd.DataFrame(rows, columns=["backbone", "size_mb", "parameters_m", "depth"])


def _sorted(recipe: Recipe, data: Path) -> RolePlan:
    """Table and split, without the look at every image that a training takes first."""
    table = read_configured(data, recipe.data)
    return RolePlan(table, len(table), resolve_split(table, recipe.split, siblings=recipe.paper.siblings), [])


def _few(images: RolePlan, number: int) -> RolePlan:
    """As many training images, the classes in turn."""
    train = images.table[images.table["image_id"].isin(images.split.ids("train"))]
    turn = train.groupby("dx").cumcount()
    chosen = train.assign(turn=turn).sort_values(["turn", "dx"], kind="stable").head(number)
    table = images.table[images.table["image_id"].isin(chosen["image_id"])].reset_index(drop=True)
    roles = images.split.roles
    split = Split(
        roles[roles["image_id"].isin(table["image_id"])].reset_index(drop=True), images.split.header
    )
    return RolePlan(table, len(table), split, [])


class _Clock(pl.Callback):
    """When each step ended, and whether its loss was finite."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *rest: Any
    ) -> None:
        del trainer, pl_module, rest
        if not torch.isfinite(outputs["loss"]):
            raise RuntimeError(f"the loss of step {len(self.ends) + 1} is {float(outputs['loss'])}")
        self.ends.append(time.perf_counter())


def _steps(recipe: Recipe, inputs: Inputs, task: LesionTask, device: str) -> float:
    """Median seconds of a step, the first left out."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    clock = _Clock()
    trainer = pl.Trainer(
        accelerator=resolve_device(device),
        devices=1,
        precision=recipe.train.precision,
        max_steps=STEPS + 1,
        callbacks=[clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        use_distributed_sampler=False,
    )
    with quiet():
        trainer.fit(task, EpochBatches(inputs, recipe, world=1))
    return median(np.diff(clock.ends).tolist())


@torch.inference_mode()
def _latency(inputs: Inputs, task: LesionTask, device: str) -> list[float]:
    """Seconds of single images, the first three left out."""
    model = task.model.to(resolve_device(device)).eval()
    where = next(model.parameters()).device
    seconds = []
    for row in range(FORWARDS + 3):
        index = row % len(inputs.table)
        image = torch.from_numpy(inputs.cache.take(np.array([index]))).permute(0, 3, 1, 2)
        meta = torch.from_numpy(inputs.meta_NM[[index]])
        began = time.perf_counter()
        logits, _ = model(image.to(where), meta.to(where))
        logits.cpu()
        seconds.append(time.perf_counter() - began)
    return seconds[3:]
