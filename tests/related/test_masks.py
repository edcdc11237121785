"""Crops, background and shape by hand; a fourth channel that changes nothing until it is trained."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from related.masks import lesion_box, masked, with_fourth_channel


@pytest.fixture
def scene():
    """A bright lesion of 4 × 8 pixels, columns 8 to 11 and rows 4 to 11, on grey skin."""
    x_1SS3 = np.full((1, 20, 20, 3), 100, np.uint8)
    mask_1SS = np.zeros((1, 20, 20), np.uint8)
    x_1SS3[0, 4:12, 8:12], mask_1SS[0, 4:12, 8:12] = 200, 255
    return x_1SS3, mask_1SS


def test_boxes_by_hand(scene):
    inside_SS = scene[1][0] > 127
    assert lesion_box(inside_SS, margin=0) == (8, 4, 12, 12)
    assert lesion_box(inside_SS, margin=0.25) == (7, 2, 13, 14)  # 1 of 4 columns, 2 of 8 rows
    assert lesion_box(inside_SS, margin=3) == (0, 0, 20, 20)  # cut off at the border


def test_a_tight_crop_holds_the_lesion_alone_and_a_dilated_one_skin_too(scene):
    assert (masked(*scene, "tight", 10) == 200).all()
    dilated = masked(*scene, "dilated", 10)
    assert dilated[0, 5, 5, 0] == 200
    assert dilated.min() < 200


def test_background_and_shape(scene):
    x_1SS3, mask_1SS = scene
    black = masked(x_1SS3, mask_1SS, "background", 20)
    inside = mask_1SS > 0
    assert (black[inside] == 200).all()
    assert (black[~inside] == 0).all()
    np.testing.assert_array_equal(
        masked(x_1SS3, mask_1SS, "shape", 20), masked(255 - x_1SS3, mask_1SS, "shape", 20)
    )  # it does not look at the image
    assert set(np.unique(masked(x_1SS3, mask_1SS, "shape", 20))) == {0, 255}


@pytest.mark.parametrize("use", ["tight", "dilated", "background", "shape"])
def test_an_empty_mask_leaves_the_whole_image(scene, use):
    x_1SS3, mask_1SS = scene
    np.testing.assert_array_equal(masked(x_1SS3, 0 * mask_1SS, use, 20), x_1SS3)


def test_without_a_use_masks_are_not_looked_at(scene):
    x_1SS3, mask_1SS = scene
    np.testing.assert_array_equal(masked(x_1SS3, mask_1SS, "none", 20), x_1SS3)


def test_a_fourth_channel_is_silent_at_first_and_learns():
    first = nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=True).double()
    bigger = with_fourth_channel(first).double()
    x_B3HW, mask_B1HW = torch.randn(2, 3, 8, 8).double(), torch.rand(2, 1, 8, 8).double()
    out_BCHW = bigger(torch.cat([x_B3HW, mask_B1HW], dim=1))
    torch.testing.assert_close(out_BCHW, first(x_B3HW))
    out_BCHW.square().sum().backward()
    assert bigger.weight.grad[:, 3].abs().max() > 0
