"""The training step of CRCKD (Xing et al. 2021, arXiv 2107.03225): what the student learns apart from labels.

    loss = CE + w(t)·KL(p_T ‖ p_S) + λ·CCD + CRP,        KL and CRP from a share of the training on

Here the teacher sees the student's view turned and mirrored once more, where the authors draw a view of its
own first; an embedding is a linear layer on the features that the last layer sees, which have no layer of 128
before them; centroids are of the memories before a batch has entered them, in theirs after; and schedules
are shares of the training, their 20 and 30 of 80 epochs by default. The score is the student's, of the last
epoch.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from dermlens.errors import UserError
from dermlens.models.classifier import LesionClassifier
from dermlens.training.inputs import Batch, Inputs
from dermlens.training.optimisers import make_optimizer
from dermlens.training.task import LesionTask
from related.crckd import (
    Contrast,
    Memory,
    centroids,
    consistency_weight,
    draw_contrasts,
    follow,
    relation_loss,
)


class CRCKDTask(LesionTask):
    """A student, its mean teacher and their two memories.

    Args:
        model: the student.
        inputs: the data: the memories hold the images of the training role.
        teacher: whether p_S follows p_T (MT of the authors' ablation).
        contrast: λ, of CCD; 0 leaves it out.
        relation: weight of CRP; 0 leaves it out.
        double_contrast: multiply λ a second time once KL and CRP have begun, as the authors' code does.
        width: of the embeddings.
        positives: P of the contrast.
        negatives: K of it.
        begin: share of the training at which KL and CRP begin.
        rise: share at which w reaches 1.
        **own: of `LesionTask`.
    """

    place_N: Tensor
    target_M: Tensor

    def __init__(
        self,
        model: LesionClassifier,
        *,
        inputs: Inputs,
        teacher: bool = True,
        contrast: float = 0.1,
        relation: float = 1.0,
        double_contrast: bool = False,
        width: int = 128,
        positives: int = 5,
        negatives: int = 256,
        begin: float = 20 / 80,
        rise: float = 30 / 80,
        **own: Any,
    ) -> None:
        super().__init__(model, **own)
        if self.optimizer_config.layer_decay != 1:
            raise UserError("train.optimizer.layer_decay is not for CRCKD: leave it at 1")
        self.teaches, self.contrast, self.relation = teacher, contrast, relation
        self.double_contrast = double_contrast
        self.positives, self.negatives, self.begin, self.rise = positives, negatives, begin, rise
        self.teacher = copy.deepcopy(self.model).requires_grad_(False)
        branch = getattr(self.model.head, "branch", None)
        features = self.model.head.linear.in_features - (branch.width if branch is not None else 0)
        self.embed_student, self.embed_teacher = (nn.Linear(features, width) for _ in range(2))
        rows = torch.from_numpy(inputs.rows("train"))
        place_N = torch.full((len(inputs.target_N),), -1)
        place_N[rows] = torch.arange(len(rows))
        self.register_buffer("place_N", place_N, persistent=False)
        self.register_buffer("target_M", torch.from_numpy(inputs.target_N)[rows], persistent=False)
        self.memory_student, self.memory_teacher = (Memory(len(rows), width) for _ in range(2))
        self.contrast_student, self.contrast_teacher = (Contrast(len(rows)) for _ in range(2))

    def configure_optimizers(self) -> Optimizer:
        """The recipe's optimiser, over student and embeddings."""
        learns = nn.ModuleDict(
            {"model": self.model, "student": self.embed_student, "teacher": self.embed_teacher}
        )
        return make_optimizer(self.optimizer_config, learns)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch; then the memories take in what it was."""
        del batch_idx
        logits_BC, found = self.model(batch["image"], batch["meta"])
        labels = self._loss_of_images(logits_BC, batch).mean()
        self.train_tally.add(labels, logits_BC, batch["target"])
        with torch.no_grad():  # in training mode: its batch norms go by the batch
            teacher_BC, shown = self.teacher(turned(batch["image"]), batch["meta"])
        ours_BD = F.normalize(self.embed_student(found["features_BD"]), dim=1)
        theirs_BD = F.normalize(self.embed_teacher(shown["features_BD"]), dim=1)
        row_B = self.place_N[batch["row"]]
        loss = labels + self._taught(logits_BC, teacher_BC, ours_BD, theirs_BD, row_B)
        self.memory_student.remember(row_B, ours_BD)
        self.memory_teacher.remember(row_B, theirs_BD)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Let the teacher follow."""
        del outputs, batch, batch_idx
        follow(self.teacher, self.model, self.global_step - 1)

    def _taught(
        self, logits_BC: Tensor, teacher_BC: Tensor, ours_BD: Tensor, theirs_BD: Tensor, row_B: Tensor
    ) -> Tensor:
        """What is added to the loss of the labels."""
        assert self.trainer.max_epochs is not None
        epochs, epoch = self.trainer.max_epochs, self.current_epoch
        begun = epoch >= self.begin * epochs
        added = logits_BC.new_zeros(())
        if self.contrast:
            same_BP, other_BK = draw_contrasts(
                row_B.cpu(), self.target_M.cpu(), self.positives, self.negatives
            )
            both = self.contrast_student(ours_BD, self.memory_teacher.bank_MD, same_BP, other_BK)
            both = both + self.contrast_teacher(theirs_BD, self.memory_student.bank_MD, same_BP, other_BK)
            added = added + self.contrast * both * (self.contrast if begun and self.double_contrast else 1.0)
        if begun and self.teaches:
            weight = consistency_weight(epoch, max(1, round(self.rise * epochs)))
            added = added + weight * F.kl_div(
                logits_BC.log_softmax(1), teacher_BC.log_softmax(1), reduction="batchmean", log_target=True
            )
        if begun and self.relation:
            classes = logits_BC.shape[1]
            own_CD, their_CD = (
                centroids(memory.bank_MD, self.target_M, classes)
                for memory in (self.memory_student, self.memory_teacher)
            )
            added = added + self.relation * relation_loss(ours_BD, theirs_BD, own_CD, their_CD)
        return added


def turned(x_BCHW: Tensor) -> Tensor:
    """Each square image turned by a random quarter and, half of the time, mirrored."""
    quarters_B = torch.randint(4, (len(x_BCHW),)).tolist()
    mirrored_B = (torch.rand(len(x_BCHW)) < 0.5).tolist()
    turned_B = [
        torch.rot90(x_CHW, quarter, (1, 2)) for x_CHW, quarter in zip(x_BCHW, quarters_B, strict=True)
    ]
    return torch.stack(
        [x_CHW.flip(2) if mirror else x_CHW for x_CHW, mirror in zip(turned_B, mirrored_B, strict=True)]
    )
