"""The Lightning task: what one step and one epoch are, and what an epoch's numbers are made of."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from dermlens.errors import UserError
from dermlens.models.classifier import LesionClassifier
from dermlens.plugins import check_trusted
from dermlens.sections import DistillationConfig, OptimizerConfig
from dermlens.training.inputs import Batch, drawn_seed
from dermlens.training.losses import ClassLoss, distillation
from dermlens.training.optimisers import make_optimizer

# What an epoch's numbers are made of: sums of tensors, so that no step waits for Python.
#
# Shapes: B batch, C classes.


class Tally:
    """The summed loss and the confusion matrix of an epoch so far.

    Args:
        num_classes: C.
        device: where the batches are.
    """

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        # Apple's GPUs have no double precision.
        sums = torch.float32 if device.type == "mps" else torch.float64
        self.loss = torch.zeros((), dtype=sums, device=device)
        self.confusion_CC = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)

    def add(self, loss: Tensor, logits_BC: Tensor, target_B: Tensor) -> None:
        """Count a batch, given its mean loss."""
        self.loss += loss.detach() * len(target_B)
        pairs_B = target_B * self.num_classes + logits_BC.detach().argmax(1)
        counts = torch.bincount(pairs_B, minlength=self.num_classes**2)
        self.confusion_CC += counts.view_as(self.confusion_CC)

    def summary(self, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Mean loss, accuracy, and the mean over classes present of their recall.

        Args:
            total: sums a tensor over the processes of a distributed run.

        Returns:
            `loss`, `accuracy`, `mean_recall`.
        """
        confusion_CC = total(self.confusion_CC).double().cpu()
        support_C, hits_C = confusion_CC.sum(1), confusion_CC.diagonal()
        present_C = support_C > 0
        images = support_C.sum()
        return {
            "loss": float(total(self.loss).cpu() / images),
            "accuracy": float(hits_C.sum() / images),
            "mean_recall": float((hits_C[present_C] / support_C[present_C]).mean()),
        }


# The Lightning task: what one step and one epoch are. `train.task` names another by import path.
#
# Shapes: B batch, C channels or classes, M metadata width.


class LesionTask(pl.LightningModule):
    """Trains a classifier.

    Args:
        model: takes pixels of 0 to 255; normalisation is inside.
        loss: with the class weights of the recipe; training minimises it.
        plain_loss: the same loss with all classes alike, which `val_loss` reports, as Keras does.
        optimizer: `train.optimizer` of the recipe.
        seed: of dropout.
        deferred_epochs: first epochs in which the class weights are left out.
        distillation: `train.distillation` of the recipe; its soft labels ride on the batches.

    Attributes:
        val_summary: `val_*` of the latest epoch, in double precision, which Lightning's own copies lack.
    """

    def __init__(
        self,
        model: LesionClassifier,
        *,
        loss: ClassLoss,
        plain_loss: ClassLoss,
        optimizer: OptimizerConfig,
        seed: int,
        deferred_epochs: int = 0,
        distillation: DistillationConfig | None = None,
    ) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)
        self.loss, self.plain_loss = loss, plain_loss
        self.optimizer_config = optimizer
        self.seed = seed
        self.deferred_epochs = deferred_epochs
        self.distillation = distillation
        self.num_classes = len(loss.weight_C)
        self.val_summary: dict[str, float] = {}

    def configure_optimizers(self) -> Optimizer:
        """The recipe's optimiser; schedules are callbacks."""
        return make_optimizer(self.optimizer_config, self.model)

    def forward(self, batch: Batch) -> Tensor:
        """Logits of a batch."""
        logits_BC: Tensor = self.model(batch["image"], batch["meta"])[0]
        return logits_BC

    def on_train_epoch_start(self) -> None:
        """Begin to count."""
        self.train_tally = Tally(self.num_classes, self.device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Every epoch goes on from its own seed, so that a run resumed there goes on as if never stopped.

        At the first step and not before: the iterator of a loader draws from the generator as well when it is
        made, and Lightning makes one more in an epoch that another has preceded.
        """
        del batch
        if batch_idx == 0:
            seed = drawn_seed(self.seed, self.current_epoch, self.global_rank, "network")
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002 - whatever a library draws from it shall repeat too
            torch.manual_seed(seed)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted loss of a batch."""
        del batch_idx
        logits_BC = self(batch)
        loss = self._loss_of_images(logits_BC, batch).mean()
        self.train_tally.add(loss, logits_BC, batch["target"])
        return loss

    def _loss_of_images(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """loss_B; what a recipe does not ask for is not in the batch."""
        criterion = self.loss if self.current_epoch >= self.deferred_epochs else self.plain_loss
        weight_B = batch.get("weight", torch.ones_like(batch["target"], dtype=logits_BC.dtype))
        source_B = batch["source"]
        loss_B = weight_B * criterion.per_image(logits_BC, batch["target"], source_B)
        soft_BC = batch["soft"] if self.distillation is not None else None
        if "partner" in batch:
            partner_B, share_B = batch["partner"], batch["share"]
            other_B = criterion.per_image(logits_BC, batch["target"][partner_B], source_B[partner_B])
            other_B = weight_B[partner_B] * other_B
            loss_B = torch.lerp(other_B, loss_B, share_B)
            weight_B = torch.lerp(weight_B[partner_B], weight_B, share_B)
            if soft_BC is not None:
                soft_BC = torch.lerp(soft_BC[partner_B], soft_BC, share_B[:, None])
        if self.distillation is not None and soft_BC is not None:
            # of a mixed pair both need soft labels
            alpha = self.distillation.weight * (soft_BC.sum(1) > 1 - 1e-3)
            soft_B = weight_B * distillation(logits_BC, soft_BC, self.distillation.temperature)
            loss_B = torch.where(alpha > 0, (1 - alpha) * loss_B + alpha * soft_B, loss_B)
        return loss_B

    def on_validation_start(self) -> None:
        """Let every process score the same network: in training, batch-norm statistics are their own."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for buffer in self.model.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self.val_tally = Tally(self.num_classes, self.device)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Count a batch."""
        del batch_idx
        logits_BC = self(batch)
        self.val_tally.add(self.plain_loss(logits_BC, batch["target"]), logits_BC, batch["target"])

    def on_validation_epoch_end(self) -> None:
        """Publish `val_*`, for the callbacks that act on them."""
        summary = self.val_tally.summary(self._total)
        self.val_summary = {f"val_{name}": value for name, value in summary.items()}
        # The same in all processes already, but Lightning asks; loggers get them with the rest of the epoch.
        self.log_dict(self.val_summary, sync_dist=True, logger=False)

    def train_summary(self) -> dict[str, float]:
        """`train_loss` and `train_accuracy` of the epoch, over all processes.

        Raises:
            UserError: the loss is not a number any more.
        """
        summary = self.train_tally.summary(self._total)
        if not np.isfinite(summary["loss"]):
            raise UserError(
                f"epoch {self.current_epoch}: the training loss is {summary['loss']}, the run has diverged;"
                f" lower train.optimizer.lr, which is {self.optimizer_config.lr}"
            )
        return {"train_loss": summary["loss"], "train_accuracy": summary["accuracy"]}

    def _total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over the processes."""
        summed: Tensor = self.trainer.strategy.reduce(tensor, reduce_op="sum")
        return summed


def task_class(kind: str) -> Callable[..., LesionTask]:
    """The task that `train.task.kind` of a recipe names.

    Args:
        kind: `package.module:Class`.

    Returns:
        The class, which takes what `LesionTask` does, the run's `inputs`, and settings of its own.

    Raises:
        UserError: there is no such module or class, it is no task, or the recipe that names it is a stored
            run's and its code is not trusted.
    """
    check_trusted("task", kind, "train.task.kind")
    module, _, name = kind.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"train.task.kind {kind} cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, LesionTask)):
        raise UserError(f"train.task.kind {kind} is no subclass of dermlens.training.task.LesionTask")
    return found
