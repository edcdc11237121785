"""What stands in for what is taken away."""

from __future__ import annotations

import numpy as np

from dermlens.explain.methods import blurred, skin

from .conftest import SIDE


def test_skin_is_the_colour_of_the_frame_whatever_the_middle_holds():
    image_SSC = np.full((SIDE, SIDE, 3), (210, 160, 140), dtype=np.uint8)
    image_SSC[8:-8, 8:-8] = 0
    image_SSC[0, :3] = 255  # a hair or a ruler does not move a median
    np.testing.assert_array_equal(np.unique(skin(image_SSC).reshape(-1, 3), axis=0), [[210, 160, 140]])


def test_blur_takes_structure_and_leaves_shade(lesion):
    assert blurred(lesion).std() < lesion.std()
    assert abs(blurred(lesion).mean() - lesion.mean()) < 2
    flat_SSC = np.full_like(lesion, 77)
    np.testing.assert_array_equal(blurred(flat_SSC), flat_SSC)
