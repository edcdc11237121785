"""Views against the flips and turns of torch and the affine transform of SciPy, and what holds for all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import affine_grid

from dermlens.data.augment import Augmentation, _grid
from dermlens.data.config import AugmentConfig

NONE = {"rotation": 0, "shift": 0, "zoom": 0, "horizontal_flip": False, "vertical_flip": False}


def augmentation(**changes) -> Augmentation:
    return Augmentation(AugmentConfig(**(NONE | changes)))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(batch: int = 6, side: int = 17, channels: int = 3) -> torch.Tensor:
    """Random pixels as the cache gives them: bytes, channels last."""
    pixels = torch.randint(0, 256, (batch, side, side, channels), dtype=torch.uint8, generator=seeded(1))
    return pixels.permute(0, 3, 1, 2)


def fixed(matrix: list[list[float]], x_BCHW: torch.Tensor, monkeypatch) -> torch.Tensor:
    """The view under a known map."""
    drawn = torch.tensor(matrix).repeat(len(x_BCHW), 1, 1)
    monkeypatch.setattr(Augmentation, "draw", lambda *_: drawn)
    return augmentation(rotation=1)(x_BCHW)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_nothing_asked_for_is_nothing_done(dtype):
    x_BCHW = noise().to(dtype)
    out = augmentation()(x_BCHW, seeded())
    assert out.dtype == torch.float32
    assert torch.equal(out, x_BCHW.float())


@pytest.mark.parametrize("side", [16, 17])
@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], lambda x: torch.flip(x, [3])),
        ([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]], lambda x: torch.flip(x, [2])),
        ([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]], lambda x: torch.rot90(x, 1, [2, 3])),
        ([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]], lambda x: torch.rot90(x, 2, [2, 3])),
    ],
    ids=["left to right", "top to bottom", "quarter turn", "half turn"],
)
def test_known_maps_are_torchs_own(matrix, expected, side, monkeypatch):
    x_BCHW = noise(side=side)
    torch.testing.assert_close(
        fixed(matrix, x_BCHW, monkeypatch), expected(x_BCHW).float(), atol=2e-3, rtol=0
    )


def test_a_shift_repeats_the_edge(monkeypatch):
    """Three pixels to the left: the last column fills up."""
    x_BCHW = noise(side=20)
    out = fixed([[1.0, 0.0, 2 * 3 / 20], [0.0, 1.0, 0.0]], x_BCHW, monkeypatch)
    expected = torch.cat([x_BCHW[..., 3:], x_BCHW[..., -1:].expand(-1, -1, -1, 3)], dim=3).float()
    torch.testing.assert_close(out, expected, atol=2e-3, rtol=0)


def test_the_default_views_are_scipys(monkeypatch):
    """The same maps in pixels from the corner, through an implementation that knows nothing of torch."""
    ndimage = pytest.importorskip("scipy.ndimage")
    x_BCHW, default = noise(batch=8, side=24), Augmentation(AugmentConfig())
    out = default(x_BCHW, seeded())
    for x_CHW, out_CHW, matrix in zip(x_BCHW, out, default.draw(8, seeded()).double(), strict=True):
        swapped = matrix[:, :2].flip(0, 1).numpy()  # torch counts (x, y), SciPy (row, column)
        centre = np.full(2, (24 - 1) / 2)
        offset = centre + matrix[:, 2].flip(0).numpy() * 24 / 2 - swapped @ centre
        for plane, got in zip(x_CHW.double().numpy(), out_CHW.numpy(), strict=True):
            want = ndimage.affine_transform(plane, swapped, offset, order=1, mode="nearest")
            np.testing.assert_allclose(got, want, atol=5e-3)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 12)])
def test_the_grid_is_torchs(height, width):
    matrix = Augmentation(AugmentConfig()).draw(5, seeded())
    expected = affine_grid(matrix, [5, 1, height, width], align_corners=False)
    torch.testing.assert_close(_grid(matrix, height, width), expected, atol=1e-5, rtol=0)


def test_draws_stay_within_the_limits_and_reach_them():
    """Undo turn, shift and zoom from the drawn maps: each is uniform on its own range."""
    config = AugmentConfig(rotation=40, shift=0.2, zoom=0.3, horizontal_flip=False, vertical_flip=False)
    matrix = Augmentation(config).draw(4000, seeded())
    angle_B = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    turn_B22 = torch.stack([angle_B.cos(), -angle_B.sin(), angle_B.sin(), angle_B.cos()], 1).view(-1, 2, 2)
    undone_B23 = turn_B22.mT @ matrix
    zoom_B2 = torch.stack([undone_B23[:, 0, 0], undone_B23[:, 1, 1]], 1)
    shift_B2 = undone_B23[:, :, 2] / 2
    for drawn, low, high in [
        (angle_B.rad2deg(), -40, 40),
        (zoom_B2[:, 0], 0.7, 1.3),
        (zoom_B2[:, 1], 0.7, 1.3),
        (shift_B2[:, 0], -0.2, 0.2),
        (shift_B2[:, 1], -0.2, 0.2),
    ]:
        assert low - 1e-3 <= drawn.min() < low + 0.02 * (high - low)
        assert high + 1e-3 >= drawn.max() > high - 0.02 * (high - low)
        assert drawn.mean() == pytest.approx((low + high) / 2, abs=0.03 * (high - low))
    assert abs(torch.corrcoef(zoom_B2.T)[0, 1]) < 0.05  # each axis by its own factor


@pytest.mark.parametrize("flip", ["horizontal_flip", "vertical_flip"])
def test_half_of_the_images_are_flipped_and_the_others_untouched(flip):
    x_BCHW = noise(batch=400, side=5)
    out = augmentation(**{flip: True})(x_BCHW, seeded())
    flipped = torch.flip(x_BCHW, [3 if flip == "horizontal_flip" else 2]).float()
    near = [(out - y).abs().amax((1, 2, 3)) < 1e-2 for y in (flipped, x_BCHW.float())]
    assert (near[0] | near[1]).all()
    assert 150 < near[0].sum() < 250


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    level=st.integers(0, 255),
    batch=st.integers(1, 9),
    channels=st.integers(1, 4),
    side=st.integers(1, 20),
)
def test_a_blank_image_stays_blank_and_pixels_stay_in_range(seed, level, batch, channels, side):
    blank = torch.full((batch, channels, side, side), level, dtype=torch.uint8)
    default = Augmentation(AugmentConfig())
    torch.testing.assert_close(default(blank, seeded(seed)), blank.float(), atol=1e-3, rtol=0)
    out = default(noise(batch, side, channels), seeded(seed))
    assert out.shape == (batch, channels, side, side)
    assert (out > -1e-3).all()
    assert (out < 255 + 1e-3).all()
    assert torch.isfinite(out).all()


def test_the_seed_decides_and_the_memory_format_does_not():
    default, x_BCHW = Augmentation(AugmentConfig()), noise(batch=10)
    out = default(x_BCHW, seeded(3))
    assert torch.equal(out, default(x_BCHW, seeded(3)))
    assert torch.equal(out, default(x_BCHW.float().contiguous(), seeded(3)))
    assert not torch.equal(out, default(x_BCHW, seeded(4)))
    assert out.is_contiguous(memory_format=torch.channels_last)
    torch.manual_seed(5)
    one = default(x_BCHW)
    torch.manual_seed(5)
    assert torch.equal(one, default(x_BCHW))


@pytest.mark.parametrize("mask", [[True, False, True, False, False, True], [False] * 6, [True] * 6])
def test_only_the_chosen_are_augmented(mask):
    default, x_BCHW, mask_B = Augmentation(AugmentConfig()), noise(batch=6), torch.tensor(mask)
    out, all_out = default(x_BCHW, seeded(), mask_B), default(x_BCHW, seeded())
    assert torch.equal(out[~mask_B], x_BCHW[~mask_B].float())
    assert torch.equal(out[mask_B], all_out[mask_B])
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_the_input_is_left_alone():
    x_BCHW = noise().float()
    before = x_BCHW.clone()
    Augmentation(AugmentConfig())(x_BCHW, seeded(), torch.tensor([True, False] * 3))
    assert torch.equal(x_BCHW, before)


def test_a_mask_turns_with_its_image():
    """As a fourth channel it undergoes the very same map."""
    x_BCHW = noise(channels=3)
    both = torch.cat([x_BCHW, x_BCHW[:, :1]], dim=1)
    out = Augmentation(AugmentConfig())(both, seeded())
    assert torch.equal(out[:, 3], out[:, 0])


def test_a_turn_of_180_degrees_covers_the_circle():
    matrix = augmentation(rotation=180).draw(2000, seeded())
    angle_B = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    counts = torch.histc(angle_B, 8, -math.pi, math.pi)
    assert counts.min() > 180
