"""Generators and pixels for tests of augmentation."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def seeded():
    """A generator from a seed."""
    return lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture
def noise():
    """Random pixels as the cache gives them: bytes, channels last."""

    def make(batch: int = 6, side: int = 17, channels: int = 3) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        pixels = torch.randint(0, 256, (batch, side, side, channels), dtype=torch.uint8, generator=generator)
        return pixels.permute(0, 3, 1, 2)

    return make
