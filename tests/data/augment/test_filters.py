"""Filters against torchvision's, each image of a batch at a strength of its own."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close
from torchvision.transforms.v2 import functional as oracle

from dermlens.data.augment.colour import WIDEST_BLUR, autocontrast, blur, gamma, sharpen

SIDE = 60
SHARES = [-1.0, -0.4, 0.0, 0.3, 1.0]


def blurred(x_CHW: torch.Tensor, sigma: float) -> torch.Tensor:
    taps = 2 * math.ceil(3 * WIDEST_BLUR * SIDE) + 1
    return oracle.gaussian_blur(x_CHW, [taps, taps], [max(sigma * SIDE, 1e-3)] * 2)


@pytest.mark.parametrize(
    ("ours", "theirs", "strengths"),
    [
        (sharpen, lambda x, s: oracle.adjust_sharpness(x, 1 + s), [0.9 * share for share in SHARES]),
        (autocontrast, lambda x, s: oracle.autocontrast(x), SHARES),
        (gamma, lambda x, s: oracle.adjust_gamma(x, math.exp(s)), SHARES),
        (blur, blurred, [0.0, 0.002, 0.005, 0.008, WIDEST_BLUR]),
    ],
    ids=["sharpen", "autocontrast", "gamma", "blur"],
)
def test_filters_are_torchvisions(ours, theirs, strengths, noise):
    x_BCHW = (20 + noise(batch=5, side=SIDE).float() * 0.7).contiguous()
    x_BCHW[0, 1] = 80  # a blank channel
    before = x_BCHW.clone()
    out_BCHW = ours(x_BCHW, torch.tensor(strengths))
    assert torch.equal(x_BCHW, before)
    for x_CHW, out_CHW, strength in zip(x_BCHW, out_BCHW, strengths, strict=True):
        assert_close(out_CHW, 255 * theirs(x_CHW / 255, strength), atol=2e-3, rtol=0)


@pytest.mark.parametrize("function", [sharpen, gamma, blur])
def test_no_strength_is_no_change(function, noise):
    x_BCHW = noise(side=SIDE).float().contiguous()
    assert_close(function(x_BCHW, torch.zeros(6)), x_BCHW, atol=1e-3, rtol=0)


@pytest.mark.parametrize("function", [sharpen, autocontrast, gamma, blur])
@pytest.mark.parametrize("side", [1, 2, 3, 7])
def test_the_smallest_images_pass(function, side, noise):
    out_BCHW = function(noise(side=side).float().contiguous(), torch.full((6,), 0.01))
    assert out_BCHW.shape == (6, 3, side, side)
    assert (out_BCHW >= 0).all()
    assert (out_BCHW <= 255.001).all()
