"""Augmentations of related systems against torchvision, scikit-image and values by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as oracle

from dermlens.errors import UserError
from dermlens.recipe import parse_recipe
from dermlens.testing import check_augmentation
from related.brightening import brightened
from related.randaugment import COLOURS, SHAPES, modified_randaugment

from .conftest import TRAINING

NOTHING = torch.zeros(3)


@pytest.mark.parametrize(
    "name", ["related.brightening:brightening", "related.randaugment:modified_randaugment"]
)
def test_they_are_augmentations(name):
    check_augmentation(name)


def test_brightening_by_hand():
    x_BCHW = torch.tensor([0.0, 51.0, 127.5, 191.25, 255.0]).view(1, 1, 1, 5)
    found = brightened(x_BCHW, 0.5, torch.tensor([0.2]))
    # slope 1.4 up to 178.5, then 0.6
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, 71.4, 178.5, 216.75, 255.0]))
    torch.testing.assert_close(brightened(x_BCHW, 0.5, torch.zeros(1)), x_BCHW)


def test_a_curve_beyond_white_is_refused():
    with pytest.raises(UserError, match="must be below 1"):
        parse_recipe(
            TRAINING,
            "tiny",
            ['augment={plugins: [{kind: "related.brightening:brightening", knot: 0.7, lift: 0.4}]}'],
            trust_code=True,
        )


@pytest.fixture
def image():
    return torch.randint(0, 256, (1, 3, 20, 20), generator=torch.Generator().manual_seed(3)).float()


def test_there_are_as_many_operations_as_theirs_but_for_the_blend():
    assert (len(COLOURS), len(SHAPES)) == (12, 8)


@pytest.mark.parametrize("name", ["saturation", "contrast", "brightness", "sharpness"])
@pytest.mark.parametrize("strength", [-1.0, 0.5])
def test_enhancements_are_pillows_within_rounding(image, name, strength):
    adjust = getattr(oracle, f"adjust_{name}")
    theirs = adjust(image.to(torch.uint8), 1 + 0.4 * strength).float()
    torch.testing.assert_close(COLOURS[name](image, strength, NOTHING), theirs, atol=1.5, rtol=0)


def test_operations_on_colour_by_hand(image):
    flat = torch.full((1, 3, 4, 4), 200.0)
    corner = COLOURS["vignette"](flat, 1.0, NOTHING)[0, 0, 0, 0]
    assert corner == pytest.approx(200 * (1 - 0.6))
    extra = torch.tensor([1.0, 0.5, 0.0])
    assert COLOURS["cast"](flat, 1.0, extra)[0, :, 0, 0].tolist() == [230.0, 200.0, 170.0]
    assert COLOURS["posterise"](flat, 1.0, NOTHING)[0, 0, 0, 0] == 200 // 8 * 8  # five bits are left
    assert COLOURS["solarise"](flat, 1.0, NOTHING)[0, 0, 0, 0] == 55  # the threshold is 128
    assert COLOURS["solarise"](flat, 0.1, NOTHING)[0, 0, 0, 0] == 200
    noise = COLOURS["noise"](torch.full((1, 3, 64, 64), 128.0), 1.0, torch.tensor([0.3, 0, 0])) - 128
    assert noise.std() == pytest.approx(10, rel=0.03)
    stretched = COLOURS["autocontrast"](image * 0.5 + 20, 0.3, NOTHING)
    assert (stretched.amin().item(), stretched.amax().item()) == pytest.approx((0, 255), abs=1e-2)


def test_equalising_is_pillows(image):
    pixels_HW3 = image[0].permute(1, 2, 0).numpy().astype(np.uint8)
    theirs = np.asarray(ImageOps.equalize(Image.fromarray(pixels_HW3)))
    assert np.array_equal(COLOURS["equalise"](image, 0.5, NOTHING)[0].permute(1, 2, 0).numpy(), theirs)
    grey = image[:, :1].expand(-1, 3, -1, -1)
    theirs = np.asarray(ImageOps.equalize(Image.fromarray(grey[0, 0].numpy().astype(np.uint8))))
    found = COLOURS["equalise luminance"](grey, 0.5, NOTHING)[0, 1].numpy()
    np.testing.assert_allclose(found, theirs, atol=1)


def test_operations_on_shape(image):
    smooth = oracle.gaussian_blur(image, [5, 5])[:, :, 2:-2, 2:-2]
    turned = SHAPES["rotate"](smooth, 1.0, NOTHING)
    theirs = oracle.rotate(smooth, 40, InterpolationMode.BILINEAR)
    torch.testing.assert_close(turned[..., 4:-4, 4:-4], theirs[..., 4:-4, 4:-4], atol=1e-2, rtol=1e-3)
    torch.testing.assert_close(SHAPES["lens"](smooth, 0.0, NOTHING), smooth, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(SHAPES["flip"](image, 1.0, NOTHING), oracle.horizontal_flip(image))
    hole = SHAPES["cutout"](image + 1, 1.0, torch.tensor([0.5, 0.5, 0])) == 0
    assert hole.sum() == 3 * (2 * round(50 / 224 * 20)) ** 2
    line = torch.arange(20.0).expand(1, 3, 20, 20)
    wide = SHAPES["scale"](line, -1.0, NOTHING)[0, 0, 10]
    assert (wide[11] - wide[10]).item() == pytest.approx(0.8, abs=1e-4)
    narrow = SHAPES["scale x"](line, 1.0, NOTHING)[0, 0, 10]
    assert (narrow[11] - narrow[10]).item() == pytest.approx(1.2, abs=1e-4)
    leaning = SHAPES["shear x"](line, 1.0, NOTHING)[0, 0]
    assert (leaning[11, 10] - leaning[10, 10]).item() == pytest.approx(math.tan(math.radians(15)), abs=1e-3)
    assert torch.equal(SHAPES["shear y"](line, 1.0, NOTHING)[0, 0, 0, 5:15], line[0, 0, 0, 5:15])


def test_each_change_happens_with_its_probability():
    x_BCHW = torch.randint(0, 256, (400, 3, 8, 8), generator=torch.Generator().manual_seed(0)).float()
    generator = torch.Generator().manual_seed(1)
    changed = modified_randaugment(x_BCHW, generator, probability=0.7, magnitude=10.0)
    share = (changed != x_BCHW).flatten(1).any(1).float().mean().item()
    assert share == pytest.approx(1 - 0.3**2, abs=0.06)
    same = modified_randaugment(x_BCHW, generator, probability=0.0, magnitude=10.0)
    assert torch.equal(same, x_BCHW)
