from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.models.soft_attention import OriginalKernel, SoftAttention

SHAPES = [(7, 7, 16), (7, 7, 128), (8, 8, 192), (4, 5, 13), (5, 3, 4), (1, 1, 12), (9, 6, 5), (2, 2, 3)]
"""Height, width, channels; the last but one has fewer kernel rows than could overlap the map."""


def explicit_form(x_HWC: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The authors' layer (class SoftAttention of their notebooks) in explicit form, summed term by term."""
    height, width, channels = x_HWC.shape
    middle = (channels - 1) // 2
    pre = np.tile(bias.astype(np.float64), (height, width, 1))
    for h in range(height):
        for w in range(width):
            for h2 in range(height):
                row = h2 - h + middle
                if not 0 <= row < channels:
                    continue
                for dw in (-1, 0, 1):
                    if not 0 <= w + dw < width:
                        continue
                    for c in (0, 1, 2):
                        pre[h, w] += kernel[row, dw + 1, c].astype(np.float64) * x_HWC[h2, w + dw, c]
    return pre


def literal_conv3d(x_BCHW: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The authors' layer: Conv3D over (H, W, C), kernel (C, 3, 3), strides (1, 1, C), SAME padding."""
    channels = x_BCHW.shape[1]
    before = (channels - 1) // 2
    volume = x_BCHW.permute(0, 2, 3, 1)[:, None]  # batch, 1, height, width, channel
    # strided by C, one output along the channels: SAME pads max(3 − C, 0), that is nothing
    volume = F.pad(volume, (0, 0, 1, 1, before, channels - 1 - before))
    out = F.conv3d(volume, kernel.permute(3, 0, 1, 2)[:, None], bias, stride=(1, 1, channels))
    return out[..., 0]


def original(channels: int, heads: int = 16) -> OriginalKernel:
    layer = OriginalKernel(channels, heads)
    torch.nn.init.normal_(layer.bias)
    return layer


@pytest.mark.parametrize(("height", "width", "channels"), SHAPES)
def test_original_is_the_explicit_form(height, width, channels):
    layer, x_BCHW = original(channels, heads=2), torch.randn(1, channels, height, width)
    theirs = explicit_form(
        x_BCHW[0].permute(1, 2, 0).numpy(), layer.weight.detach().numpy(), layer.bias.detach().numpy()
    )
    ours = layer(x_BCHW)[0].permute(1, 2, 0).detach().numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(("height", "width", "channels"), [*SHAPES, (7, 7, 960), (11, 11, 672)])
def test_original_is_the_literal_conv3d(height, width, channels):
    layer, x_BCHW = original(channels), torch.randn(2, channels, height, width)
    theirs = literal_conv3d(x_BCHW, layer.weight, layer.bias)
    torch.testing.assert_close(layer(x_BCHW), theirs, atol=1e-5, rtol=1e-5)


def test_original_ignores_channels_from_three_on():
    attention = SoftAttention(128, kernel="original")
    x_BCHW = torch.randn(2, 128, 7, 7, requires_grad=True)
    _, alpha_BKHW = attention(x_BCHW)
    (alpha_BKHW * torch.randn_like(alpha_BKHW)).sum().backward()
    assert x_BCHW.grad is not None
    assert torch.count_nonzero(x_BCHW.grad[:, 3:]) == 0
    assert all(torch.count_nonzero(x_BCHW.grad[:, c]) > 0 for c in range(3))
    changed = x_BCHW.detach().clone()
    changed[:, 3:] = torch.randn_like(changed[:, 3:]) * 100
    assert torch.equal(attention(changed)[1], alpha_BKHW)


@pytest.mark.parametrize(
    ("channels", "side", "acting"),
    [(128, 7, 1872), (192, 8, 2160), (2048, 7, 1872), (672, 11, 3024), (512, 28, 7920), (960, 1, 48)],
)
def test_kernel_weights_that_can_act_are_the_published_number(channels, side, acting):
    layer = original(channels)
    layer(torch.rand(1, channels, side, side) + 0.1).sum().backward()
    assert layer.weight.grad is not None
    touched = layer.weight.grad != 0
    # at 1×1 the outer columns meet padding alone: the published 48 are the middle column's
    assert int(touched.sum()) == acting


def test_corrected_sees_every_channel():
    attention = SoftAttention(40, kernel="corrected")
    x_BCHW = torch.randn(4, 40, 5, 5, requires_grad=True)
    _, alpha_BKHW = attention(x_BCHW)
    (alpha_BKHW * torch.randn_like(alpha_BKHW)).sum().backward()
    assert x_BCHW.grad is not None
    assert bool((x_BCHW.grad.abs().amax(dim=(0, 2, 3)) > 0).all())


@pytest.mark.parametrize("kernel", ["original", "corrected"])
@pytest.mark.parametrize("channels", [128, 192, 576, 2048])
def test_parameters_and_start_are_the_published_ones(kernel, channels):
    attention = SoftAttention(channels, kernel=kernel)
    assert sum(p.numel() for p in attention.parameters()) == 144 * channels + 16
    limit = math.sqrt(6 / (9 * channels))
    assert 0.97 * limit < attention.kernel.weight.abs().max() <= limit
    assert torch.count_nonzero(attention.kernel.bias) == 0


def test_gamma_is_one_parameter_more_and_starts_as_nothing():
    plain = SoftAttention(32, kernel="corrected")
    learnt = SoftAttention(32, kernel="corrected", gamma=True)
    learnt.load_state_dict(plain.state_dict(), strict=False)
    x_BCHW = torch.randn(2, 32, 6, 6)
    torch.testing.assert_close(learnt(x_BCHW)[0], plain(x_BCHW)[0])
    assert sum(p.numel() for p in learnt.parameters()) == 144 * 32 + 17
    learnt(x_BCHW)[0].sum().backward()
    assert learnt.gamma.grad != 0


@settings(max_examples=30, deadline=None)
@given(
    heads=st.integers(1, 20),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.sampled_from(["original", "corrected"]),
    scale=st.floats(0, 1e3),
)
def test_each_head_is_a_distribution_over_positions(heads, height, width, kernel, scale):
    attention = SoftAttention(8, heads, kernel=kernel)
    x_BCHW = torch.randn(2, 8, height, width) * scale
    attended_BCHW, alpha_BKHW = attention(x_BCHW)
    assert alpha_BKHW.shape == (2, heads, height, width)
    assert bool((alpha_BKHW >= 0).all())
    torch.testing.assert_close(alpha_BKHW.sum(dim=(2, 3)), torch.ones(2, heads))
    torch.testing.assert_close(alpha_BKHW.sum(dim=(1, 2, 3)), torch.full((2,), float(heads)))
    torch.testing.assert_close(attended_BCHW, x_BCHW * alpha_BKHW.sum(1, keepdim=True))
    if height == width == 1:  # softmax of one number
        torch.testing.assert_close(attended_BCHW, heads * x_BCHW)


def test_uniform_placebo_weighs_every_position_alike():
    layer, x_BCHW = SoftAttention(8, heads=3, kernel="uniform"), torch.randn(2, 8, 4, 5)
    attended_BCHW, alpha_BKHW = layer(x_BCHW)
    torch.testing.assert_close(alpha_BKHW, torch.full((2, 3, 4, 5), 1 / 20))
    torch.testing.assert_close(attended_BCHW, x_BCHW * 3 / 20)
    assert list(layer.parameters()) == []


def test_frozen_placebo_attends_as_the_corrected_kernel_and_learns_nothing():
    frozen, corrected = (SoftAttention(8, heads=3, kernel=kind) for kind in ("frozen", "corrected"))
    corrected.load_state_dict(frozen.state_dict())
    x_BCHW = torch.randn(2, 8, 4, 5, requires_grad=True)
    attended_BCHW, alpha_BKHW = frozen(x_BCHW)
    torch.testing.assert_close(alpha_BKHW, corrected(x_BCHW)[1])
    assert alpha_BKHW.std() > 0  # it does attend to something
    attended_BCHW.sum().backward()
    assert x_BCHW.grad is not None
    assert all(parameter.grad is None for parameter in frozen.parameters())
