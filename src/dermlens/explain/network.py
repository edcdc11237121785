"""A saved model as a function of squares and metadata.

B batch, C classes, S side of the square, M metadata width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dermlens.decision.answer import Answers, answer
from dermlens.decision.document import plain_decision
from dermlens.decision.probabilities import scaled
from dermlens.explain.heat import Metadata, Pixels
from dermlens.metrics import Floats
from dermlens.models.classifier import LesionClassifier
from dermlens.models.head import Intermediates
from dermlens.models.saved import SavedModel

BATCH = 8
"""Squares at a time: few enough for a CPU's caches."""


def to_tensors(image_SSC: Pixels, meta_M: Metadata) -> tuple[Tensor, Tensor]:
    """x_1CSS of 0 to 255, floating, and meta_1M."""
    x_1CSS = torch.from_numpy(np.ascontiguousarray(image_SSC)).permute(2, 0, 1)[None].float()
    return x_1CSS, torch.from_numpy(np.asarray(meta_M, dtype=np.float32))[None]


@torch.inference_mode()
def look(saved: SavedModel, image_SSC: Pixels, meta_M: Metadata) -> tuple[Tensor, Intermediates]:
    """logits_1C and intermediates of one square as it is."""
    out: tuple[Tensor, Intermediates] = saved.model(*to_tensors(image_SSC, meta_M))
    return out


def outputs(saved: SavedModel, x_BSSC: Pixels, meta_M: Metadata) -> tuple[Floats, Floats]:
    """logits_BC and features_BD of squares as they are, all with the metadata of one patient."""
    network = many(saved)
    meta_1M = torch.from_numpy(np.asarray(meta_M, dtype=np.float32))[None]
    logits, features = [], []
    with torch.inference_mode():
        for start in range(0, len(x_BSSC), BATCH):
            x_BCSS = torch.tensor(x_BSSC[start : start + BATCH]).permute(0, 3, 1, 2)
            logits_BC, found = network(x_BCSS, meta_1M.expand(len(x_BCSS), -1))
            logits.append(logits_BC.double().numpy())
            features.append(found["features_BD"].double().numpy())
    return np.concatenate(logits), np.concatenate(features)


def many(saved: SavedModel) -> LesionClassifier:
    """The network with its weights laid out for batches, half as fast again; same numbers but for rounding.

    Not to be called in inference mode, which would leave weights that have no gradient.
    """
    return saved.model.to(memory_format=torch.channels_last)


def probabilities(saved: SavedModel, x_BSSC: Pixels, meta_M: Metadata) -> Floats:
    """Calibrated p_BC of squares as they are, for the model's own prior."""
    decision = saved.decision or plain_decision(saved.classes)
    return np.exp(scaled(outputs(saved, x_BSSC, meta_M)[0], decision.scaling))


def decide(
    saved: SavedModel, logits_BC: npt.NDArray[np.floating], features_BD: npt.NDArray[np.floating]
) -> Answers:
    """What the model answers to logits and features, by its decision or, without one, by softmax."""
    return answer(logits_BC, features_BD, saved.decision or plain_decision(saved.classes), saved.arrays)
