"""Occlusion where its answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dermlens.explain.methods import blurred, occlusion

from .conftest import SIDE, patient


def test_a_constant_image_has_nothing_to_take_away(tiny):
    flat_SSC = np.full((SIDE, SIDE, 3), (200, 150, 130), dtype=np.uint8)
    np.testing.assert_allclose(
        occlusion(tiny("gap"), flat_SSC, patient(tiny("gap")), 4).heat_SS, 0, atol=1e-5
    )


def test_a_constant_region_is_zero(tiny):
    """A window in which the blur changes nothing cannot change the score."""
    half_SSC = np.full((SIDE, SIDE, 3), 200, dtype=np.uint8)
    half_SSC[:, -8:] = 40
    same_S = (blurred(half_SSC) == half_SSC).all(axis=(0, 2))
    heat_SS = occlusion(tiny("gap"), half_SSC, patient(tiny("gap")), 4).heat_SS
    assert same_S[: SIDE // 4].all()
    np.testing.assert_allclose(heat_SS[:, : SIDE // 4], 0, atol=1e-5)
    assert np.abs(heat_SS[:, -SIDE // 4 :]).max() > 1e-4


def test_a_corner_is_the_fall_of_the_score_under_the_one_window_that_holds_it(tiny, explain, lesion):
    saved = tiny("gap")
    hidden_SSC = lesion.copy()
    hidden_SSC[: SIDE // 4, : SIDE // 4] = blurred(lesion)[: SIDE // 4, : SIDE // 4]
    x_BCHW = torch.from_numpy(np.stack([lesion, hidden_SSC])).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits_BC, _ = saved.model(x_BCHW, torch.from_numpy(patient(saved)).expand(2, -1))
    fall = float(logits_BC[0, 4] - logits_BC[1, 4])
    assert explain("occlusion", "gap").heat_SS[0, 0] == pytest.approx(fall, abs=1e-5)
