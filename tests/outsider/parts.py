"""One of each kind of thing that plugs in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from dermlens.documents import Section
from dermlens.models.metadata_branch import MetadataBranch
from dermlens.plugins import plugin


class Poly1Config(Section):
    epsilon: NonNegativeFloat = 1.0


@plugin("loss", Poly1Config, neutral={"epsilon": 0.0})
def poly1(logits_BC: Tensor, target_B: Tensor, weight_C: Tensor, *, epsilon: float) -> Tensor:
    """w_y · (−log p_y + ε·(1 − p_y)) (Leng et al. 2022, Eq. 5)."""
    log_p_B = -F.cross_entropy(logits_BC, target_B, reduction="none")
    return weight_C[target_B] * (-log_p_B + epsilon * -torch.expm1(log_p_B))


class EqualConfig(Section):
    each: PositiveInt = 8


@plugin("sampler", EqualConfig)
def equal(
    target_R: np.ndarray,
    lesion_R: Sequence[str],
    source_R: Sequence[str],
    rng: np.random.Generator,
    classes: Sequence[str],
    *,
    each: int,
) -> np.ndarray:
    """So many images of each class, drawn with replacement."""
    return np.concatenate([rng.choice(np.flatnonzero(target_R == c), each) for c in np.unique(target_R)])


class VignetteConfig(Section):
    strength: Annotated[float, Field(ge=0, le=1)] = 0.5


@plugin("augmentation", VignetteConfig)
def vignette(x_BCHW: Tensor, generator: torch.Generator | None, *, strength: float) -> Tensor:
    """Darker towards the corners, by up to `strength`."""
    amount_B = strength * torch.rand(len(x_BCHW), generator=generator).to(x_BCHW.device)
    y_H, x_W = (torch.linspace(-1, 1, side, device=x_BCHW.device) for side in x_BCHW.shape[2:])
    far_HW = (y_H[:, None] ** 2 + x_W[None] ** 2) / 2
    return x_BCHW * (1 - amount_B[:, None, None, None] * far_HW)


class NetConfig(Section):
    width: PositiveInt = 8


@plugin("backbone", NetConfig, size=48)
def net(width: int) -> nn.Module:
    """Three strided convolutions."""
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


@plugin("metadata_branch")
class Gate(MetadataBranch):
    """Each channel times a number of 0 to 1 that the metadata give."""

    def __init__(self, meta_width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(meta_width, channels)

    def modulate(self, x_BCHW: Tensor, meta_BM: Tensor) -> Tensor:
        return x_BCHW * self.linear(meta_BM).sigmoid()[:, :, None, None]


class ListConfig(Section):
    name: str = "lesions.txt"


@plugin("reader", ListConfig)
def read_list(folder: Path, *, name: str) -> pd.DataFrame:
    """A text file with image, lesion, diagnosis and age in each line, bars between them."""
    lines = (folder / name).read_text(encoding="utf-8").splitlines()
    return pd.DataFrame([line.split("|") for line in lines], columns=["image_id", "lesion_id", "dx", "age"])


@plugin("metric")
def worst_recall(target_N: np.ndarray, p_NC: np.ndarray, classes: Sequence[str]) -> float:
    """Recall of the class that is recognised worst."""
    hit_N = p_NC.argmax(axis=1) == target_N
    return min(hit_N[target_N == c].mean() for c in np.unique(target_N))


def unmarked() -> None:
    """Not a plugin."""
