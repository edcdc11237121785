"""Mass inside a mask: the limits that are known by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paper.attention_mass import masses, summarise


def mask(side: int, top: int, bottom: int, left: int, right: int) -> np.ndarray:
    found = np.zeros((1, side, side), dtype=np.uint8)
    found[:, top:bottom, left:right] = 255
    return found


@given(cells=st.integers(1, 9), side=st.integers(9, 40), seed=st.integers(0, 99))
def test_an_even_map_has_the_masks_share_and_the_whole_has_everything(cells, side, seed):
    rng = np.random.default_rng(seed)
    inside = (rng.integers(0, 2, (1, side, side)) * 255).astype(np.uint8)
    even = masses(np.full((1, cells, cells), 3.0), inside)
    assert even["attention_mass"] == pytest.approx(even["mask_share"])
    assert even["mask_share"] == pytest.approx((inside > 0).mean())
    alpha = rng.random((1, cells, cells)) + 0.01
    parts = masses(alpha, inside), masses(alpha, 255 - inside)
    for name in ("attention_mass", "gaussian_mass", "mask_share"):
        assert parts[0][name] + parts[1][name] == pytest.approx(1)


def test_all_in_one_cell():
    alpha = np.zeros((1, 3, 3))
    alpha[0, 0, 2] = 5
    assert masses(alpha, mask(96, 0, 32, 64, 96))["attention_mass"] == pytest.approx(1)
    assert masses(alpha, mask(96, 0, 16, 64, 96))["attention_mass"] == pytest.approx(0.5)
    assert masses(alpha, mask(96, 32, 96, 0, 96))["attention_mass"] == pytest.approx(0)


def test_cells_that_end_within_a_pixel():
    """Seven cells on 96 pixels: the border lies at 13.71, and the pixel there belongs to both."""
    alpha = np.zeros((1, 7, 7))
    alpha[0, 0, 0] = 1
    cell = 96 / 7
    assert masses(alpha, mask(96, 0, 13, 0, 96))["attention_mass"] == pytest.approx(13 / cell)
    assert masses(alpha, mask(96, 0, 14, 0, 96))["attention_mass"] == pytest.approx(1)


def test_the_gaussian_is_in_the_middle_and_holds_two_thirds_within_a_sigma_a_side():
    middle = masses(np.ones((1, 3, 3)), mask(96, 24, 72, 24, 72))["gaussian_mass"]
    # 68.3 % of each axis within one σ of the 95.4 % that the square has
    assert middle == pytest.approx((0.6827 / 0.9545) ** 2, abs=2e-3)
    corner = masses(np.ones((1, 3, 3)), mask(96, 0, 48, 0, 48))["gaussian_mass"]
    assert corner == pytest.approx(0.25)


def test_the_summary_is_of_means_and_paired_differences():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "image_id": [f"i{n}" for n in range(60)], "lesion_id": [f"l{n // 2}" for n in range(60)], "fold": 0,
        "dx": ["nv", "mel"] * 30, "mask_share": rng.random(60), "gaussian_mass": rng.random(60),
    })  # fmt: skip
    table["attention_mass"] = table["mask_share"] + 0.1
    found = summarise(table).set_index("quantity")
    assert found.loc["mask_share", "value"] == pytest.approx(table["mask_share"].mean())
    assert found.loc["attention_minus_area", "value"] == pytest.approx(0.1)
    gaussian = found.loc["attention_minus_gaussian"]
    assert gaussian["low"] < gaussian["value"] < gaussian["high"]
    assert (found["images"] == 60).all()
