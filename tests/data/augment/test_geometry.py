"""Views against the flips and turns of torch and the affine transform of SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import affine_grid

from dermlens.data.augment.geometry import _grid, draw_maps, view
from dermlens.data.config import AugmentConfig


def fixed(matrix: list[list[float]], x_BCHW: torch.Tensor) -> torch.Tensor:
    """The view under a known map."""
    return view(x_BCHW.float().contiguous(), torch.tensor(matrix).repeat(len(x_BCHW), 1, 1))


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
def test_known_maps_are_torchs_own(matrix, expected, side, noise):
    x_BCHW = noise(side=side)
    torch.testing.assert_close(fixed(matrix, x_BCHW), expected(x_BCHW).float(), atol=2e-3, rtol=0)


def test_a_shift_repeats_the_edge(noise):
    """Three pixels to the left: the last column fills up."""
    x_BCHW = noise(side=20)
    out = fixed([[1.0, 0.0, 2 * 3 / 20], [0.0, 1.0, 0.0]], x_BCHW)
    expected = torch.cat([x_BCHW[..., 3:], x_BCHW[..., -1:].expand(-1, -1, -1, 3)], dim=3).float()
    torch.testing.assert_close(out, expected, atol=2e-3, rtol=0)


def test_the_default_views_are_scipys(noise, seeded):
    """The same maps in pixels from the corner, through an implementation that knows nothing of torch."""
    ndimage = pytest.importorskip("scipy.ndimage")
    x_BCHW, matrix_B23 = noise(batch=8, side=24), draw_maps(AugmentConfig(), 8, seeded())
    out = view(x_BCHW.float().contiguous(), matrix_B23)
    for x_CHW, out_CHW, matrix in zip(x_BCHW, out, matrix_B23.double(), strict=True):
        swapped = matrix[:, :2].flip(0, 1).numpy()  # torch counts (x, y), SciPy (row, column)
        centre = np.full(2, (24 - 1) / 2)
        offset = centre + matrix[:, 2].flip(0).numpy() * 24 / 2 - swapped @ centre
        for plane, got in zip(x_CHW.double().numpy(), out_CHW.numpy(), strict=True):
            want = ndimage.affine_transform(plane, swapped, offset, order=1, mode="nearest")
            np.testing.assert_allclose(got, want, atol=5e-3)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 12)])
def test_the_grid_is_torchs(height, width, seeded):
    matrix = draw_maps(AugmentConfig(), 5, seeded())
    expected = affine_grid(matrix, [5, 1, height, width], align_corners=False)
    torch.testing.assert_close(_grid(matrix, height, width), expected, atol=1e-5, rtol=0)


def test_draws_stay_within_the_limits_and_reach_them(seeded):
    """Undo turn, shift and zoom from the drawn maps: each is uniform on its own range."""
    config = AugmentConfig(rotation=40, shift=0.2, zoom=0.3, horizontal_flip=False, vertical_flip=False)
    matrix = draw_maps(config, 4000, seeded())
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


def test_a_turn_of_180_degrees_covers_the_circle(seeded):
    matrix = draw_maps(AugmentConfig(horizontal_flip=False, vertical_flip=False), 2000, seeded())
    angle_B = torch.atan2(matrix[:, 1, 0], matrix[:, 0, 0])
    counts = torch.histc(angle_B, 8, -math.pi, math.pi)
    assert counts.min() > 180


def test_scale_is_of_both_sides_and_reaches_its_limits(seeded):
    config = AugmentConfig(rotation=70, zoom=0, scale=(0.75, 1.1))
    side_B2 = draw_maps(config, 4000, seeded())[:, :, :2].double().norm(dim=1)
    torch.testing.assert_close(side_B2[:, 0], side_B2[:, 1])
    assert 0.75 - 1e-5 <= side_B2.min() < 0.76
    assert 1.1 + 1e-5 >= side_B2.max() > 1.09


def test_aspect_keeps_circles_within_its_limit_and_their_area(seeded):
    """A circle becomes an ellipse: its axes are the singular values of the map, its area their product."""
    config = AugmentConfig(rotation=180, zoom=0, aspect=0.15)
    axes_B2 = torch.linalg.svdvals(draw_maps(config, 4000, seeded())[:, :, :2].double())
    ratio_B = axes_B2[:, 0] / axes_B2[:, 1]
    assert ratio_B.max() <= 1.15 + 1e-5
    assert ratio_B.max() > 1.14
    torch.testing.assert_close(axes_B2.prod(1), torch.ones(4000, dtype=torch.float64), atol=1e-5, rtol=0)


def test_wide_is_as_likely_as_high(seeded):
    config = AugmentConfig(
        rotation=0, shift=0, zoom=0, aspect=0.3, horizontal_flip=False, vertical_flip=False
    )
    matrix = draw_maps(config, 4000, seeded())
    assert float((matrix[:, 0, 0] > matrix[:, 1, 1]).float().mean()) == pytest.approx(0.5, abs=0.03)


def test_scale_and_zoom_are_not_both_set():
    with pytest.raises(ValueError, match="zoom to 0"):
        AugmentConfig(scale=(0.8, 1.2))
