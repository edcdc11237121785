"""The published numbers, and every network of the table."""

from __future__ import annotations

import pytest
import torch

from dermlens.models.config import NetworkConfig
from dermlens.models.table import BACKBONES

META_WIDTH = 21

EVERY_CUT = [
    (name, cut) for name, row in BACKBONES.items() for cut in ("paper", "full", "plain") if row.has_cut(cut)
]

SMALLEST = {"inception_resnet_v2": 96, "inception_v3": 128, "vgg16": 64}
"""Sides that leave more than one position; 64 does for the others."""


def config_of(name: str, cut: str, **settings: object) -> NetworkConfig:
    """A network of the table; attention and metadata where the cut has a feature map."""
    if cut == "plain":
        settings |= {"attention": "none", "metadata": "none"}
    return NetworkConfig.model_validate({"backbone": name, "cut": cut, **settings})


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
