"""One training under Lightning: assemble, loop, and write what came of it."""

from __future__ import annotations

import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.strategies import DDPStrategy

from dermlens.data.loaders import planned_epoch
from dermlens.data.table import table_sha256
from dermlens.errors import UserError
from dermlens.files import write_text
from dermlens.models.classifier import LesionClassifier, build_classifier
from dermlens.models.initial_weights import start_note
from dermlens.models.saved import SavedModel, save_model
from dermlens.recipe import Recipe
from dermlens.runs import Run
from dermlens.training import machine
from dermlens.training.callbacks import FrozenBackbone, FrozenBlocks, History, make_loggers, make_schedule
from dermlens.training.checkpoints import CHECKPOINT_FILE as CHECKPOINT
from dermlens.training.checkpoints import KEY as BEGAN_WITH
from dermlens.training.checkpoints import (
    AtomicCheckpoints,
    KeepBest,
    SaveEpoch,
    StopEarly,
    WeightAverage,
    begun_with,
    check_unchanged,
)
from dermlens.training.drop_block import DropBlockRamp
from dermlens.training.inputs import EpochBatches, Inputs, as_the_network_sees
from dermlens.training.losses import make_loss
from dermlens.training.losses_cost import make_ramp
from dermlens.training.machine import Device, keep_memory
from dermlens.training.predict import predict_cached
from dermlens.training.sampling import class_weights
from dermlens.training.task import LesionTask, task_class


@dataclass(frozen=True, slots=True)
class Hardware:
    """What trains.

    Attributes:
        device: resolved.
        devices: processes, each with one.
    """

    device: Device
    devices: int


def train(run: Run, recipe: Recipe, inputs: Inputs, hardware: Hardware, logger: str) -> dict[str, Any]:
    """Train, from the run's checkpoint if it has one, and write model, history and predictions.

    Args:
        run: the run directory, marked running.
        recipe: of the run.
        inputs: its data.
        hardware: what trains.
        logger: the tracker next to history.csv.

    Returns:
        Facts for run.json.

    Raises:
        UserError: the run has diverged, a checkpoint cannot be written or read, or is of another recipe,
            split or data.
        KeyboardInterrupt: Ctrl-C or a polite kill.
    """
    keep_memory()
    weight_C = class_weights_of(recipe, inputs)
    if machine.is_first():
        began_with = begun_with(recipe, inputs)
        if (run.checkpoints / CHECKPOINT).is_file():
            check_unchanged(run, began_with)
        inputs.split.save(run.split_file)
        run.record(**_facts_before(recipe, inputs, hardware, weight_C))
    task = make_task(recipe, inputs, weight_C)
    trainable = sum(p.numel() for p in task.model.parameters() if p.requires_grad)
    settings = recipe.train
    history = History(run.history_file)
    best = KeepBest(settings.keep) if settings.keep != "last" else None
    average = WeightAverage(settings.ema) if settings.ema is not None else None
    # Their order is part of their work, each says why; Lightning itself puts the checkpoint last.
    callbacks = [
        FrozenBackbone(settings.freeze_epochs) if settings.freeze_epochs else None,
        FrozenBlocks(settings.frozen_blocks) if settings.frozen_blocks else None,
        DropBlockRamp(settings.drop_block) if settings.drop_block else None,
        best,
        average,
        StopEarly(settings.early_stopping) if settings.early_stopping else None,
        history,
        make_schedule(settings.schedule, settings.optimizer.lr),
        make_ramp(recipe.imbalance.loss),
        TQDMProgressBar(leave=False) if sys.stdout.isatty() else None,
        SaveEpoch(run.checkpoints),
    ]
    trainer = _trainer(run, recipe, hardware, [one for one in callbacks if one is not None], logger)
    if machine.is_first():
        run.record(**{BEGAN_WITH: began_with})
    _loop(trainer, task, EpochBatches(inputs, recipe, world=hardware.devices), run)
    if not machine.is_first():
        return {}
    if best is not None:
        if best.epoch is None:
            raise UserError(
                f"train.keep {settings.keep}: no epoch of {run.path} had a finite {settings.keep};"
                " lower train.optimizer.lr, or use train.keep=last"
            )
        task.model.load_state_dict(best.best)
    elif average is not None:
        task.model.load_state_dict(average.average)
    roles = _write(run, recipe, inputs, task.model, hardware.device)
    return {
        "trainable_parameters": trainable,
        "epochs": len(history.rows),
        "kept_epoch": history.rows[-1]["epoch"] if best is None else best.epoch,
        "seconds_per_epoch": median(float(row["seconds"] or 0) for row in history.rows),
        "predicted_roles": roles,
    }


def class_weights_of(recipe: Recipe, inputs: Inputs) -> npt.NDArray[np.float64]:
    """The recipe's weights, from the counts that it names."""
    settings = recipe.imbalance
    counted = inputs.target_N if recipe.paper.weights_from == "all" else inputs.target_N[inputs.rows("train")]
    counts_C = np.bincount(counted, minlength=len(recipe.data.classes))
    return class_weights(
        settings.weights, counts_C, recipe.data.classes, exponent=settings.exponent, beta=settings.beta
    )


def _sampled_prior(recipe: Recipe, inputs: Inputs) -> torch.Tensor:
    """prior_C: each class's share of what an epoch draws; one that is never drawn counts as one image."""
    drawn = inputs.target_N[_drawn(recipe, inputs, epoch=0)]
    counts_C = np.maximum(np.bincount(drawn, minlength=len(recipe.data.classes)), 1)
    return torch.from_numpy(counts_C / counts_C.sum()).float()


def sampled_prior_of_sources(recipe: Recipe, inputs: Inputs) -> torch.Tensor:
    """prior_SC: each class's share of what all epochs together draw of a source.

    A class that is never drawn of a source has share 0 there; a source of which nothing is drawn has equal
    shares, which nothing reads.
    """
    counts_SC = np.zeros((len(inputs.sources), len(recipe.data.classes)))
    for epoch in range(recipe.train.epochs):
        rows = _drawn(recipe, inputs, epoch)
        np.add.at(counts_SC, (inputs.source_N[rows], inputs.target_N[rows]), 1)
    counts_SC[counts_SC.sum(1) == 0] = 1
    return torch.from_numpy(counts_SC / counts_SC.sum(1, keepdims=True)).float()


def _drawn(recipe: Recipe, inputs: Inputs, epoch: int) -> npt.NDArray[np.int64]:
    """The rows that an epoch sees; the offline plan repeats some, as many of each class every time."""
    rows = inputs.sampled(recipe, epoch)
    if recipe.paper.offline_plan:
        rows = rows[planned_epoch(inputs.target_N[rows], np.random.default_rng(0))[0]]
    return rows


def _facts_before(
    recipe: Recipe, inputs: Inputs, hardware: Hardware, weight_C: npt.NDArray[np.float64]
) -> dict[str, Any]:
    """What run.json says of data and machine."""
    return {
        "table_sha256": table_sha256(inputs.table.iloc[: inputs.own]),
        "also_train": {"images": len(inputs.table) - inputs.own, "folders": list(recipe.data.also_train)},
        "folders": list(recipe.data.folders),
        "split": inputs.split.header,
        "counts": _counts(recipe, inputs),
        "sources": _trained_sources(inputs),
        "class_weights": dict(zip(recipe.data.classes, weight_C.tolist(), strict=True)),
        "warnings": inputs.warnings,
        "start": start_note(recipe.model.weights),
        "seeds": {"run": recipe.seed, "split": inputs.split.header.get("seed")},
        "device": hardware.device,
        "devices": hardware.devices,
        "threads": torch.get_num_threads(),
    }


def _counts(recipe: Recipe, inputs: Inputs) -> dict[str, dict[str, int]]:
    """Images by role and class."""
    classes = recipe.data.classes
    counts = {}
    for role in inputs.split.role_names:
        counts_C = np.bincount(inputs.target_N[inputs.rows(role)], minlength=len(classes))
        counts[role] = dict(zip(classes, counts_C.tolist(), strict=True))
    return counts


def _trained_sources(inputs: Inputs) -> dict[str, int]:
    """Images of the training role by source."""
    counts_S = np.bincount(inputs.source_N[inputs.rows("train")], minlength=len(inputs.sources))
    return {name: int(count) for name, count in zip(inputs.sources, counts_S, strict=True) if count}


def make_task(recipe: Recipe, inputs: Inputs, weight_C: npt.NDArray[np.float64]) -> LesionTask:
    """Network and losses, the random weights fixed by the recipe's seed."""
    torch.manual_seed(recipe.seed)
    model = build_classifier(
        recipe.network,
        num_classes=len(recipe.data.classes),
        meta_width=inputs.encoder.width,
        size=inputs.size,
    )
    weights, prior = torch.from_numpy(weight_C).float(), _sampled_prior(recipe, inputs)
    by_source = sampled_prior_of_sources(recipe, inputs)
    own = recipe.train.task
    kind: Callable[..., LesionTask] = LesionTask
    if own is not None:
        kind = partial(task_class(own.kind), inputs=inputs, **own.settings)
    return kind(
        model,
        loss=make_loss(recipe.imbalance.loss, weights, prior, by_source),
        plain_loss=make_loss(recipe.imbalance.loss, torch.ones_like(weights), prior, by_source),
        optimizer=recipe.train.optimizer,
        seed=recipe.seed,
        deferred_epochs=recipe.imbalance.deferred_epochs,
        distillation=recipe.train.distillation,
    )


def _trainer(
    run: Run, recipe: Recipe, hardware: Hardware, callbacks: list[pl.Callback], logger: str
) -> pl.Trainer:
    """Lightning's trainer, without its own messages."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    # Filling every new tensor with NaN is for finding bugs, and costs a pass over memory each.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    strategy: Any = "auto"
    if hardware.devices > 1:
        # A frozen backbone is a part of the network that gets no gradient.
        strategy = DDPStrategy(find_unused_parameters=recipe.train.freeze_epochs > 0)
    return pl.Trainer(
        accelerator=hardware.device,
        devices=hardware.devices,
        strategy=strategy,
        precision=recipe.train.precision,
        max_epochs=recipe.train.epochs,
        callbacks=callbacks,
        plugins=[AtomicCheckpoints()],
        logger=make_loggers(logger, run.path, recipe) if machine.is_first() else False,
        deterministic=True if hardware.device == "cpu" else "warn",  # not all of a GPU's operations are
        reload_dataloaders_every_n_epochs=1,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        limit_val_batches=0 if recipe.train.monitor_role == "none" else 1.0,
        log_every_n_steps=1,
        enable_model_summary=False,
        enable_progress_bar=sys.stdout.isatty(),
        default_root_dir=run.path,
    )


def _loop(trainer: pl.Trainer, task: LesionTask, batches: EpochBatches, run: Run) -> None:
    """Run the epochs, those that a checkpoint does not hold already."""
    checkpoint = run.checkpoints / CHECKPOINT
    try:
        with quiet():
            trainer.fit(
                task, batches, ckpt_path=checkpoint if checkpoint.is_file() else None, weights_only=True
            )
    except (RuntimeError, ValueError) as error:
        if str(error).startswith("Expected more than 1 value per channel"):
            raise UserError(
                f"train.batch_size {batches.recipe.train.batch_size}: batch norm needs more than the one"
                " pixel that the last maps of one image have: take more images a step, or a larger data.size"
            ) from error
        # PyTorch's words for a network, or an optimiser, that is not the one of the checkpoint.
        if not re.match(r"Error\(s\) in loading state_dict|loaded state dict", str(error)):
            raise
        raise UserError(
            f"{run.recipe_file} describes another network or optimiser than {checkpoint} holds: undo what was"
            " changed since the run began, or train the changed recipe into a folder of its own"
        ) from error
    except SystemExit as error:
        # Lightning tidies up after a Ctrl-C and then exits by itself, with 1.
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out messages meant for Lightning's own authors and not for our users."""
    with warnings.catch_warnings():
        # Lightning 2.6 looks at PyTorch's tree specifications in a way that PyTorch 2.15 is about to drop.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        yield


def _write(run: Run, recipe: Recipe, inputs: Inputs, model: LesionClassifier, device: str) -> list[str]:
    """Write the model, and its predictions of every role that it was neither trained on nor must not see."""
    saved = SavedModel(
        model=model,
        config=recipe.network,
        classes=recipe.data.classes,
        described=recipe.data.facts,
        size=inputs.size,
        crop=recipe.data.crop,
        encoder=inputs.encoder,
        views=recipe.evaluation.views,
        colour_constancy=recipe.data.colour_constancy,
    )
    hidden = {"train", "test"} - {recipe.train.monitor_role}
    roles = [role for role in inputs.split.role_names if role not in hidden]
    predicted = []
    seen = as_the_network_sees(recipe, inputs.table)
    for role in roles:
        rows = seen.iloc[inputs.rows(role)]
        frame = predict_cached(saved, rows, inputs.cache, of=inputs.table, device=device)
        frame.insert(2, "role", role)
        predicted.append(frame)
    if predicted:
        write_text(run.predictions_file, pd.concat(predicted).to_csv(index=False, float_format="%.9g"))
    save_model(run.path, saved)
    return roles
