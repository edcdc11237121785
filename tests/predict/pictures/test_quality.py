from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.predict.pictures.preprocessing import (
    BLURRED,
    BRIGHT,
    DARK,
    FLAT,
    LIMITS,
    SIDE,
    SMALL,
    UNCOLOURED,
    faults,
    measured_square,
    measures,
)

MEASURED = Path(__file__).parents[3] / "docs" / "results" / "image_quality.md"
SKIN, SPOT = np.array([200, 150, 130]), np.array([110, 60, 50])


def skin(size: int = SIDE) -> np.ndarray:
    """A round spot on skin, with some grain."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    inside = (x**2 + y**2 < 0.06)[..., None]
    grain = np.random.default_rng(0).integers(-12, 13, (size, size, 1))
    return (np.where(inside, SPOT, SKIN) + grain).clip(0, 255).astype(np.uint8)


def test_measures_by_hand():
    found = measures(np.full((SIDE, SIDE, 3), (255, 0, 0), dtype=np.uint8))
    assert found == pytest.approx(
        {"brightness": 0.299, "contrast": 0, "sharpness": -12, "redness": 1}, abs=1e-4
    )
    board = np.indices((SIDE, SIDE)).sum(axis=0) % 2 * np.uint8(255)
    found = measures(np.repeat(board[..., None], 3, axis=2))
    assert found["contrast"] == pytest.approx(0.5, abs=1e-4)
    assert found["sharpness"] == pytest.approx(np.log10(16), abs=1e-3), "±4 everywhere"
    assert found["redness"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("spoil", "output"),
    [
        (lambda image: image, ()),
        (lambda image: image * 0.2, DARK),
        (lambda image: 255 - (255 - image) * 0.2, BRIGHT),
        (lambda image: image * 0.05 + 140, FLAT),
        (lambda image: np.full_like(image, SKIN), BLURRED),
        (lambda image: np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2), UNCOLOURED),
        (lambda image: image * [1, 0, 0] + [60, 0, 90], UNCOLOURED),
        (lambda image: image[::4, ::4], SMALL),
    ],
    ids=["fit", "dark", "bright", "flat", "blurred", "grey", "red", "small"],
)
def test_what_is_wrong_is_said(spoil, output):
    found = faults(np.asarray(spoil(skin().astype(float))).clip(0, 255).astype(np.uint8))
    assert found == () if output == () else output in found


@given(st.integers(40, 400), st.integers(40, 400), st.integers(0, 2**32 - 1))
def test_any_picture_is_measured(height, width, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert all(np.isfinite(value) for value in measures(measured_square(picture)).values())
    assert len(set(faults(picture))) == len(faults(picture))


def test_limits_are_the_measured_extremes():
    """Rounded away from the middle, in the third digit."""
    rows = dict(
        re.findall(r"^\| (\w+) \| (-?[\d.]+ \| -?[\d.]+ \| -?[\d.]+) \|$", MEASURED.read_text(), re.M)
    )
    for limit in LIMITS:
        low, _, high = map(float, rows[limit.measure].split(" | "))
        seen = low if limit.least else high
        assert 0 <= (seen - limit.value) * (1 if limit.least else -1) < 0.0075
