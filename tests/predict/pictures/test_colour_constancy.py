"""Shades of gray by its formula, and what taking out the light must do to any image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dermlens.predict.pictures.preprocessing import constant_colours


def picture(side: int = 20, high: int = 200) -> np.ndarray:
    return np.random.default_rng(0).integers(20, high, (side, side, 3), dtype=np.uint8)


def balanced(image_HWC: np.ndarray) -> np.ndarray:
    return constant_colours(image_HWC, "shades_of_gray")


def by_formula(image_HWC: np.ndarray, kept_N3: np.ndarray) -> np.ndarray:
    """I / (√3·ê), ê the unit vector of the Minkowski means with p = 6."""
    light_3 = (kept_N3.astype(float) ** 6).mean(axis=0) ** (1 / 6)
    return image_HWC / (np.sqrt(3) * light_3 / np.linalg.norm(light_3))


def test_the_formula():
    image = (picture() * [1.0, 0.7, 0.5]).astype(np.uint8)
    want = np.minimum(np.round(by_formula(image, image.reshape(-1, 3))), 255)
    out = balanced(image)
    assert out.dtype == np.uint8
    np.testing.assert_array_equal(out, want)
    assert (out != image).mean() > 0.9


def test_pixels_that_were_cut_off_do_not_count():
    image = (picture() * [1.0, 0.7, 0.5]).astype(np.uint8)
    image[:8] = [255, 40, 40]
    want = np.minimum(np.round(by_formula(image, image[8:].reshape(-1, 3))), 255)
    np.testing.assert_array_equal(balanced(image), want)


def test_grey_under_coloured_light_becomes_grey():
    """What is taken out is the light: a grey card, lit in colour, has three equal channels again."""
    card = np.broadcast_to(np.linspace(10, 200, 400).reshape(20, 20, 1), (20, 20, 3))
    lit = np.round(card * [1.2, 0.9, 0.6]).astype(np.uint8)
    out = balanced(lit).astype(int)
    assert np.ptp(lit, axis=-1).max() > 100
    assert np.ptp(out, axis=-1).max() <= 2


def test_the_same_picture_under_two_lights_comes_out_alike():
    image = picture(high=150).astype(float)
    one, two = (balanced(np.round(image * light).astype(np.uint8)) for light in ([1, 1, 1], [1.3, 1.0, 0.8]))
    scale = one.astype(float).mean() / two.mean()
    assert np.abs(one - scale * two).max() < 4


def test_white_light_is_left_alone():
    image = np.broadcast_to(picture()[..., :1], (20, 20, 3))
    np.testing.assert_array_equal(balanced(image), image)


@pytest.mark.parametrize("level", [0, 255])
def test_a_blank_image_has_no_light_to_take_out(level):
    image = np.full((4, 4, 3), level, np.uint8)
    np.testing.assert_array_equal(balanced(image), image)


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
def test_any_image_passes_and_keeps_the_order_within_its_channels(image):
    before = image.copy()
    out = balanced(image)
    np.testing.assert_array_equal(image, before)
    assert out.shape == image.shape
    for channel in range(3):
        by_level = out[..., channel].ravel()[np.argsort(image[..., channel].ravel(), kind="stable")]
        assert (np.diff(by_level.astype(int)) >= 0).all()


def test_none_is_the_image_itself():
    image = picture()
    assert constant_colours(image, "none") is image


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="known: none, shades_of_gray"):
        constant_colours(picture(), "gray_world")
