"""Crops against Pillow's own box and resize, and what must hold for any image."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from dermlens.predict.pictures.preprocessing import (
    constant_colours,
    crop_resize,
    crop_window,
    read_image,
    read_square,
)

CROPS = ["center", "squash"]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "box"),
    [(270, 360, (45, 0, 315, 270)), (600, 450, (0, 75, 450, 525)), (100, 100, (0, 0, 100, 100))],
)
def test_center_is_the_largest_centred_square(height, width, box):
    image_HWC = noise(height, width)
    expected = Image.fromarray(image_HWC).crop(box).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(crop_resize(image_HWC, 64, "center"), np.asarray(expected))


def test_squash_keeps_every_corner():
    image_HWC = noise(270, 360)
    expected = Image.fromarray(image_HWC).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(crop_resize(image_HWC, 64, "squash"), np.asarray(expected))


def test_shrinking_is_antialiased():
    """Stripes finer than the new pixels become grey; without antialiasing they would stay black and white."""
    stripes_HWC = np.zeros((256, 256, 3), np.uint8)
    stripes_HWC[:, ::2] = 255
    assert np.ptp(crop_resize(stripes_HWC, 32, "center")[:, 2:-2]) <= 2


@given(
    image=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    size=st.integers(1, 48),
    crop=st.sampled_from(CROPS),
)
def test_any_image_becomes_a_square_within_its_own_range(image, size, crop):
    square = crop_resize(image, size, crop)
    window = crop_window(image, crop)
    assert square.shape == (size, size, 3)
    assert square.flags.writeable
    assert (square.min((0, 1)) >= window.min((0, 1))).all()
    assert (square.max((0, 1)) <= window.max((0, 1))).all()


@pytest.mark.parametrize("crop", CROPS)
def test_a_square_of_the_right_size_is_copied(crop):
    image_HWC = noise(32, 32)
    square = crop_resize(image_HWC, 32, crop)
    np.testing.assert_array_equal(square, image_HWC)
    assert not np.shares_memory(square, image_HWC)


@pytest.mark.parametrize("crop", CROPS)
def test_a_mask_is_cropped_as_its_image_is(crop):
    image_HWC = noise(60, 90)
    mask = crop_resize(np.ascontiguousarray(image_HWC[..., 1]), 32, crop)
    np.testing.assert_array_equal(mask, crop_resize(image_HWC, 32, crop)[..., 1])


def test_an_unknown_crop_is_named():
    with pytest.raises(ValueError, match="crop 'middle'"):
        crop_resize(noise(8, 8), 4, "middle")


@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("size", [32, 64, 100, 128])
def test_reading_at_a_smaller_scale_shows_the_same_picture(crop, size):
    """Not the same pixels, but nearer to those of the whole image than the picture moved by one pixel is."""
    coarse = Image.fromarray(noise(6, 8)).resize((600, 450), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    coarse.save(buffer, "JPEG", quality=95)
    whole_HWC = crop_resize(read_image(buffer.getvalue()), size, crop).astype(int)
    moved = np.abs(whole_HWC[:, 1:] - whole_HWC[:, :-1]).mean()
    assert np.abs(read_square(buffer.getvalue(), size, crop) - whole_HWC).mean() < 0.7 * moved


def test_colours_are_balanced_on_the_square():
    file = io.BytesIO()
    Image.fromarray(noise(30, 50) // 2 + np.array([40, 20, 0], np.uint8)).save(file, "PNG")
    plain = read_square(file.getvalue(), 16, "center")
    balanced = read_square(file.getvalue(), 16, "center", "shades_of_gray")
    np.testing.assert_array_equal(balanced, constant_colours(plain, "shades_of_gray"))
    assert (balanced != plain).any()


@pytest.mark.parametrize(("aspect", "size"), [(4 / 3, (400, 300)), (3 / 4, (300, 400)), (16 / 9, (480, 270))])
def test_a_squashed_image_has_its_proportions_back(aspect, size):
    """A disc drawn in the scene, squashed to a square file, is cropped and resized to a disc again."""
    width, height = size
    y_H1, x_1W = np.ogrid[:height, :width]
    scene_HW = (((y_H1 - height / 2) ** 2 + (x_1W - width / 2) ** 2) < 100**2).astype(np.uint8) * 255
    stored = np.asarray(Image.fromarray(scene_HW).resize((256, 256), Image.Resampling.BILINEAR))
    whole, plain = (
        Image.fromarray(np.ascontiguousarray(crop_window(image, "center", ratio))).resize((128, 128))
        for image, ratio in ((stored, aspect), (scene_HW, None))
    )
    seen = np.asarray(whole) > 127
    assert seen.any(axis=0).sum() == pytest.approx(seen.any(axis=1).sum(), abs=2)
    assert np.mean(seen != (np.asarray(plain) > 127)) < 0.02
    squashed = np.asarray(Image.fromarray(stored).resize((128, 128))) > 127
    assert squashed.any(axis=0).sum() != pytest.approx(squashed.any(axis=1).sum(), abs=10)


def test_the_whole_image_is_squashed_whatever_it_was():
    image_HWC = noise(256, 256)
    assert crop_window(image_HWC, "squash", 4 / 3) is image_HWC
