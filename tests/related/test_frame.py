"""Crops and skin that an image gives by itself, on drawn scenes."""

from __future__ import annotations

import numpy as np
import pytest

from related.frame import centre_box, frame_box, product_histograms, without_skin
from related.masks import masked


def disc(side, row, column, radius, value=200):
    """A light disc on black."""
    y, x = np.ogrid[:side, :side]
    inside = (y - row) ** 2 + (x - column) ** 2 <= radius**2
    return np.repeat(np.where(inside, value, 0)[..., None], 3, axis=2).astype(np.uint8)


def test_a_frame_is_cropped_to_the_square_within_the_disc():
    left, top, right, bottom = frame_box(disc(120, 60, 55, 40))
    # the blurred edge lies a little further out; 0.9 of 40 is 36
    assert (left + right) / 2 == pytest.approx(55.5, abs=1)
    assert (top + bottom) / 2 == pytest.approx(60.5, abs=1)
    assert right - left == pytest.approx(2 * 36, abs=6)
    assert bottom - top == right - left


def test_without_a_frame_nothing_is_cropped():
    bright = np.full((40, 40, 3), 180, np.uint8)
    bright[15:25, 15:25] = 90  # a lesion
    assert frame_box(bright) is None
    assert frame_box(np.zeros((20, 20, 3), np.uint8)) is None
    assert np.array_equal(masked(bright[None], np.zeros((1, 40, 40), np.uint8), "frame", 40)[0], bright)


def test_the_centre_of_mass_is_the_middle_of_the_largest_square():
    assert centre_box(disc(60, 20, 40, 10)) == (21, 1, 60, 40)  # column 40 lies 19.5 from the right edge
    assert centre_box(np.full((30, 50, 3), 255, np.uint8)) == (10, 0, 40, 30)
    assert centre_box(np.zeros((30, 30, 3), np.uint8)) == (0, 0, 30, 30)


def test_products_of_histograms_by_hand():
    tile_P3 = np.array([[0, 0, 255], [0, 255, 255], [255, 255, 255], [255, 255, 255]])
    found = product_histograms(tile_P3[None], bins=2)
    # red ½ ½, green ¼ ¾, blue 0 1
    np.testing.assert_allclose(found, [[0, 0.5 * 0.75]])


def test_skin_is_blackened_and_the_lesion_stays():
    rng = np.random.default_rng(0)
    x_HW3 = np.clip(rng.normal((210, 170, 150), 4, (64, 64, 3)), 0, 255)
    x_HW3[24:40, 24:40] = np.clip(rng.normal((90, 60, 50), 20, (16, 16, 3)), 0, 255)
    found = without_skin(x_HW3.astype(np.uint8)).any(axis=2)
    assert found[24:40, 24:40].mean() > 0.9
    found[24:40, 24:40] = False
    assert found.mean() < 0.2


@pytest.mark.parametrize("use", ["frame", "centre", "skin"])
def test_they_look_at_no_mask_and_give_the_side_that_is_asked_for(use):
    x_NSS3 = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    empty, full = (np.full((2, 32, 32), value, np.uint8) for value in (0, 255))
    found = masked(x_NSS3, empty, use, 16)
    assert found.shape == (2, 16, 16, 3)
    assert np.array_equal(found, masked(x_NSS3, full, use, 16))
