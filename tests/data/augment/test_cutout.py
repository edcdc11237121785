"""Holes against the loop of the method's authors, and their number, place and filling."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dermlens.data.augment.geometry import cut_out, draw_holes
from dermlens.data.config import CutOutConfig


def authors_mask(height: int, width: int, centres: list[tuple[int, int]], length: int) -> np.ndarray:
    """The loop of DeVries & Taylor's `cutout.py`, for an even length."""
    mask = np.ones((height, width), np.float32)
    for y, x in centres:
        y1, y2 = np.clip(y - length // 2, 0, height), np.clip(y + length // 2, 0, height)
        x1, x2 = np.clip(x - length // 2, 0, width), np.clip(x + length // 2, 0, width)
        mask[y1:y2, x1:x2] = 0.0
    return mask


@pytest.mark.parametrize("side", [6, 6 / 16])
def test_holes_are_the_authors(side, noise):
    x_BCHW = noise(batch=50, side=16).float()
    centre_BK2 = draw_holes(CutOutConfig(side=side, holes=2), 50, torch.Generator().manual_seed(0))
    out_BCHW = cut_out(x_BCHW, centre_BK2, side)
    for x_CHW, out_CHW, centre_K2 in zip(x_BCHW, out_BCHW, centre_BK2, strict=True):
        kept_HW = torch.from_numpy(authors_mask(16, 16, (centre_K2 * 16).long().tolist(), 6)).bool()
        mean_C11 = x_CHW.mean((1, 2), keepdim=True)
        want_CHW = torch.where(kept_HW, x_CHW, mean_C11)
        torch.testing.assert_close(out_CHW, want_CHW)


def test_centres_are_uniform(seeded):
    centre_BK2 = draw_holes(CutOutConfig(holes=2), 3000, seeded())
    for axis in (0, 1):
        assert torch.histc(centre_BK2[..., axis], 6, 0, 1).min() > 850
    assert abs(torch.corrcoef(centre_BK2.reshape(-1, 2).T)[0, 1]) < 0.05


def test_a_hole_in_a_corner_is_clipped_to_a_quarter():
    x_B3HW = torch.zeros(1, 3, 10, 10)
    x_B3HW[..., 5:] = 100
    out_B3HW = cut_out(x_B3HW, torch.zeros(1, 1, 2), 4)
    assert (out_B3HW[0, 0, :2, :2] == 50).all()
    assert (out_B3HW != x_B3HW).sum() == 3 * 4


def test_no_holes_draw_nothing(seeded):
    generator = seeded()
    before = generator.get_state()
    assert draw_holes(None, 3, generator).shape == (3, 0, 2)
    assert torch.equal(generator.get_state(), before)
