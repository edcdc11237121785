"""What CRCKD teaches a student with (Xing et al. 2021, arXiv 2107.03225): a mean teacher and two losses.

A teacher's parameters are a running mean of the student's. Each network has a memory of one vector an image.
The class-guided contrast draws an image's embedding to those that the other network's memory has of its
class, and away from those of others; the categorical relation is how near an embedding lies to the mean of
each class, which the student is to have as the teacher has it.

Shapes: B batch, C classes, D width of an embedding, M images of the memory, P positives, K negatives.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TEMPERATURE = 0.07


def teacher_decay(step: int, largest: float = 0.99) -> float:
    """min(1 − 1/(t + 1), 0.99) at step t from 0: the teacher begins as the student."""
    return min(1 - 1 / (step + 1), largest)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, step: int) -> None:
    """Move the teacher's parameters towards the student's; its buffers stay its own."""
    decay = teacher_decay(step)
    for theirs, ours in zip(teacher.parameters(), student.parameters(), strict=True):
        theirs.lerp_(ours, 1 - decay)


def consistency_weight(epoch: int, rise: int = 30) -> float:
    """exp(−5·(1 − min(t, T)/T)²): of KL(teacher ‖ student), by the epoch t from 0."""
    return math.exp(-5 * (1 - min(epoch, rise) / rise) ** 2)


class Memory(nn.Module):
    """One unit vector an image; a running mean of its embeddings.

    The authors draw the first vectors uniformly within ±1/√(D/3) and leave their length as it is.

    Args:
        images: M.
        width: D.
        momentum: share of the old vector.
    """

    bank_MD: Tensor

    def __init__(self, images: int, width: int, momentum: float = 0.5) -> None:
        super().__init__()
        limit = 1 / math.sqrt(width / 3)
        self.momentum = momentum
        self.register_buffer("bank_MD", (2 * torch.rand(images, width) - 1) * limit)

    @torch.no_grad()
    def remember(self, row_B: Tensor, embedding_BD: Tensor) -> None:
        """Set m to normalise(½·m + ½·e) for the images of a batch, each of which is there once."""
        mixed_BD = torch.lerp(embedding_BD.detach(), self.bank_MD[row_B], self.momentum)
        self.bank_MD[row_B] = F.normalize(mixed_BD, dim=1)


def draw_contrasts(
    row_B: Tensor, target_M: Tensor, positives: int, negatives: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Random images of the same class, the first of them the image itself, and of the other classes.

    Without replacement where a class has enough images, with it where not: a class of few images would
    otherwise leave nothing to draw.

    Args:
        row_B: the images.
        target_M: classes of all of the memory's.
        positives: P.
        negatives: K.
        generator: none takes torch's own.

    Returns:
        Rows of the memory, (B, P) and (B, K).
    """
    same, other = [], []
    for row in row_B.tolist():
        alike_M = target_M == target_M[row]
        same.append(_drawn(alike_M.nonzero()[:, 0], positives, generator))
        other.append(_drawn((~alike_M).nonzero()[:, 0], negatives, generator))
    same_BP = torch.stack(same)
    same_BP[:, 0] = row_B
    return same_BP, torch.stack(other)


def _drawn(rows: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    if len(rows) >= count:
        return rows[torch.randperm(len(rows), generator=generator)[:count]]
    return rows[torch.randint(len(rows), (count,), generator=generator)]


class Contrast(nn.Module):
    """Class-guided contrast: of the embeddings of one network against the memory of the other.

    ℓ = −(1/P)·Σ_pos ln[h/(h + K/M)] − Σ_neg ln[(K/M)/(h + K/M)] with h(j) = exp(e·m_j/τ)/Z. Z is M times the
    mean of exp(e·m/τ) over the first batch, and then stays.

    Args:
        images: M.
    """

    z: Tensor

    def __init__(self, images: int) -> None:
        super().__init__()
        self.images = images
        self.register_buffer("z", torch.zeros(()))

    def forward(self, embedding_BD: Tensor, bank_MD: Tensor, same_BP: Tensor, other_BK: Tensor) -> Tensor:
        """The mean of ℓ over the batch.

        Args:
            embedding_BD: of length 1.
            bank_MD: the other network's memory; it gets no gradient.
            same_BP: rows of it, as `draw_contrasts` gives them.
            other_BK: rows of it, as `draw_contrasts` gives them.
        """
        rows_BN = torch.cat([same_BP, other_BK], dim=1)
        raised_BN = (torch.einsum("bd,bnd->bn", embedding_BD, bank_MD.detach()[rows_BN]) / TEMPERATURE).exp()
        if self.z == 0:
            self.z.copy_(raised_BN.detach().mean() * self.images)
        h_BN = raised_BN / self.z
        noise = other_BK.shape[1] / self.images
        h_BP, h_BK = h_BN[:, : same_BP.shape[1]], h_BN[:, same_BP.shape[1] :]
        pulled_B: Tensor = -(h_BP / (h_BP + noise)).log().mean(1)
        pushed_B: Tensor = -(noise / (h_BK + noise)).log().sum(1)
        return (pulled_B + pushed_B).mean()


def centroids(bank_MD: Tensor, target_M: Tensor, classes: int) -> Tensor:
    """c_k = normalise(mean over class k of ReLU(m)), (C, D); they get no gradient."""
    kept_MD = F.relu(bank_MD.detach())
    sums_CD = kept_MD.new_zeros(classes, bank_MD.shape[1]).index_add_(0, target_M, kept_MD)
    counts_C = torch.bincount(target_M, minlength=classes).clamp(min=1)
    return F.normalize(sums_CD / counts_C[:, None], dim=1)


def relation_loss(student_BD: Tensor, teacher_BD: Tensor, student_CD: Tensor, teacher_CD: Tensor) -> Tensor:
    """Categorical relation preservation: KL(r_T ‖ r_S), r = softmax_k(e·c_k/τ), each with its own centroids.

    Args:
        student_BD: embeddings.
        teacher_BD: the teacher's; they get no gradient from here.
        student_CD: centroids.
        teacher_CD: centroids.

    Returns:
        The mean over the batch, in nats.
    """
    ours_BC = (student_BD @ student_CD.T / TEMPERATURE).log_softmax(1)
    theirs_BC = (teacher_BD.detach() @ teacher_CD.T / TEMPERATURE).log_softmax(1)
    return F.kl_div(ours_BC, theirs_BC, reduction="batchmean", log_target=True)
