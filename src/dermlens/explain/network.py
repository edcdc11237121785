"""A saved model as a function of squares and metadata, and what every explanation gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from dermlens.metrics import Floats
from dermlens.models.classifier import Intermediates, LesionClassifier
from dermlens.models.saved import SavedModel
from dermlens.predict.decision import Answers, answer, at_prior, scaled
from dermlens.predict.decision_document import plain_decision

# S side of the square in pixels, K attention heads, h × w cells of a coarse map.


Pixels = npt.NDArray[np.uint8]
Metadata = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Heat:
    """An explanation of the score (logit, before calibration) of one class.

    Attributes:
        heat_SS: what each pixel adds; more is more. Methods that give shares and not additions say so.
        patient: what age, sex and site add, each against its being missing; empty where a method is blind
            to them.
        rest: for methods that add up: `heat_SS.sum() + sum(patient.values()) + rest` is the score.
        heads_KSS: the maps that were summed, where there are several.
    """

    heat_SS: Floats
    patient: Mapping[str, float] = field(default_factory=dict)
    rest: float | None = None
    heads_KSS: Floats | None = None


def spread(map_hw: npt.NDArray[np.floating], side: int) -> Floats:
    """A coarse map on the pixels of the square: bilinear, each cell's value divided among its pixels.

    Args:
        map_hw: (h, w), or (K, h, w) for several.
        side: S, in pixels.

    Returns:
        (S, S) or (K, S, S) in double precision. Where h and w divide S the sum is kept to rounding.
    """
    maps_Khw = torch.from_numpy(np.array(map_hw, dtype=np.float64)).reshape(-1, *map_hw.shape[-2:])
    height, width = map_hw.shape[-2:]
    large_KSS = F.interpolate(maps_Khw[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
    out: Floats = (large_KSS * (height * width / side**2)).numpy()
    return out.reshape(*map_hw.shape[:-2], side, side)


# B batch, C classes, S side of the square, M metadata width.


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


def outputs(saved: SavedModel, x_BSSC: Pixels, meta: Metadata) -> tuple[Floats, Floats]:
    """logits_BC and features_BD of squares as they are, with metadata of one patient or of each."""
    network = many(saved)
    meta_BM = np.broadcast_to(np.asarray(meta, dtype=np.float32), (len(x_BSSC), np.shape(meta)[-1]))
    logits, features = [], []
    with torch.inference_mode():
        for start in range(0, len(x_BSSC), BATCH):
            x_BCSS = torch.tensor(x_BSSC[start : start + BATCH]).permute(0, 3, 1, 2)
            logits_BC, found = network(x_BCSS, torch.tensor(meta_BM[start : start + BATCH]))
            logits.append(logits_BC.double().numpy())
            features.append(found["features_BD"].double().numpy())
    return np.concatenate(logits), np.concatenate(features)


def many(saved: SavedModel) -> LesionClassifier:
    """The network with its weights laid out for batches, half as fast again; same numbers but for rounding.

    Not to be called in inference mode, which would leave weights that have no gradient.
    """
    return saved.model.to(memory_format=torch.channels_last)


def probabilities(saved: SavedModel, x_BSSC: Pixels, meta_M: Metadata) -> Floats:
    """p_BC of squares as they are, in the model's own case mix."""
    decision = saved.decision or plain_decision(saved.classes)
    score_BC = scaled(outputs(saved, x_BSSC, meta_M)[0], decision.scaling)
    return np.exp(score_BC if decision.prior is None else at_prior(score_BC, decision.prior))


def decide(
    saved: SavedModel, logits_BC: npt.NDArray[np.floating], features_BD: npt.NDArray[np.floating]
) -> Answers:
    """What the model answers to logits and features, by its decision or, without one, by softmax."""
    return answer(logits_BC, features_BD, saved.decision or plain_decision(saved.classes), saved.arrays)
