"""Learning from soft labels beside the given ones.

Source: Hinton, Vinyals and Dean 2015, §2. Shapes: B batch, C classes, N images of the table.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from dermlens.errors import UserError


def distillation(logits_BC: Tensor, soft_BC: Tensor, temperature: float) -> Tensor:
    """T²·KL(q_T ‖ p_T), where both are softened: q_T ∝ q^(1/T), p_T = softmax(z/T).

    T² keeps the size of the gradient, which softening divides by about as much.

    Args:
        logits_BC: of the student, z.
        soft_BC: the teacher's probabilities, q.
        temperature: T.

    Returns:
        loss_B, in nats.
    """
    tiny = torch.finfo(soft_BC.dtype).tiny
    log_q_BC = (soft_BC.clamp(min=tiny).log() / temperature).log_softmax(1)
    log_p_BC = (logits_BC / temperature).log_softmax(1)
    return temperature**2 * F.kl_div(log_p_BC, log_q_BC, reduction="none", log_target=True).sum(1)


def read_soft_labels(path: Path, images: pd.Series, classes: tuple[str, ...]) -> Tensor:
    """Soft labels in the order of a table.

    Args:
        path: a CSV of `image_id` and `p_<class>` for each class; other columns are left alone.
        images: the image ids of the table.
        classes: labels, in the order of the logits.

    Returns:
        soft_NC, float32, rows of sum 1; zeros for images that the file does not have.

    Raises:
        UserError: no such file, no such columns, an image twice, a row that is no distribution, or no image
            of the table in it.
    """
    try:
        found = pd.read_csv(path, dtype={"image_id": str})
    except (OSError, ValueError) as error:
        raise UserError(f"train.distillation.soft_labels: {path} cannot be read as CSV: {error}") from error
    columns = [f"p_{code}" for code in classes]
    for column in ("image_id", *columns):
        if column not in found:
            raise UserError(f"train.distillation.soft_labels: {path} has no column {column}")
    if found["image_id"].duplicated().any():
        twice = found.loc[found["image_id"].duplicated(), "image_id"].iloc[0]
        raise UserError(f"train.distillation.soft_labels: {path} has {twice} twice")
    p_NC = found[columns].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = ~((p_NC >= 0).all(1) & (abs(p_NC.sum(1) - 1) < 1e-3))
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(
            f"train.distillation.soft_labels: {path}, row {row + 2}, image {found['image_id'].iloc[row]}: its"
            " probabilities must be numbers of 0 to 1 and of sum 1"
        )
    aligned = pd.DataFrame(p_NC, index=found["image_id"]).reindex(images)
    if aligned.isna().all(axis=None):
        raise UserError(f"train.distillation.soft_labels: {path} has none of the images of the table")
    return torch.tensor(aligned.fillna(0.0).to_numpy(), dtype=torch.float32)
