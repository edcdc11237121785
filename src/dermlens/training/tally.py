"""What an epoch's numbers are made of: sums of tensors, so that no step waits for Python.

Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


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
