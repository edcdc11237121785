"""What holds for everything that is done to a batch, whatever a recipe asks for."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.data.augment.augmentation import Augmentation
from dermlens.data.config import AugmentConfig
from dermlens.testing import check_augmentation

NONE = {"rotation": 0, "shift": 0, "zoom": 0, "horizontal_flip": False, "vertical_flip": False}
COLOUR = {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.05, "illuminant": 0.2}
RECIPES = {
    "views": {},
    "colour": {"colour": COLOUR},
    "colour alone": NONE | {"colour": COLOUR},
    "rand": {"policy": {"kind": "rand", "operations": 3, "magnitude": 1.0}},
    "trivial": {"policy": {"kind": "trivial"}},
    "camera": {"camera": {"resample": 0.3, "quality": [30, 90], "probability": 0.7}},
    "camera alone": NONE | {"camera": {"resample": 0.5, "probability": 1.0}},
    "proportions": NONE | {"scale": [0.7, 1.2], "aspect": 0.2},
    "other light": NONE | {"colour": {"gains": 0.2, "gamma": 0.3}},
    "cutout alone": NONE | {"cutout": {"side": 0.5}},
    "all": {"colour": COLOUR, "policy": {"kind": "rand"}, "cutout": {"side": 5, "holes": 2}},
}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())


def augmentation(recipe: dict) -> Augmentation:
    return Augmentation(AugmentConfig.model_validate(recipe))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_nothing_asked_for_is_nothing_done(dtype, noise, seeded):
    x_BCHW = noise().to(dtype)
    out = augmentation(NONE)(x_BCHW, seeded())
    assert out.dtype == torch.float32
    assert torch.equal(out, x_BCHW.float())


def test_a_recipe_of_views_alone_draws_what_it_always_drew(seeded):
    """Five numbers and two coins an image, and no more: runs from before there was more repeat to the bit."""
    generator, replay = seeded(7), seeded(7)
    augmentation({})(torch.zeros(5, 3, 4, 4), generator)
    torch.rand(5, 5, generator=replay)
    torch.rand(5, 2, generator=replay)
    assert torch.equal(generator.get_state(), replay.get_state())


@pytest.mark.parametrize("flip", ["horizontal_flip", "vertical_flip"])
def test_half_of_the_images_are_flipped_and_the_others_untouched(flip, noise, seeded):
    x_BCHW = noise(batch=400, side=5)
    out = augmentation(NONE | {flip: True})(x_BCHW, seeded())
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
def test_a_blank_image_stays_blank(seed, level, batch, channels, side):
    blank = torch.full((batch, channels, side, side), level, dtype=torch.uint8)
    out = augmentation({})(blank, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(out, blank.float(), atol=1e-3, rtol=0)


@every_recipe
def test_every_recipe_keeps_the_contract(recipe):
    check_augmentation(AugmentConfig.model_validate(recipe))


@every_recipe
def test_the_memory_format_stays_and_torchs_own_generator_will_do(recipe, noise, seeded):
    augment, x_BCHW = augmentation(recipe), noise(batch=10)
    out = augment(x_BCHW, seeded(3))
    assert not torch.equal(out, augment(x_BCHW, seeded(4)))
    assert out.is_contiguous(memory_format=torch.channels_last)
    masked = augment(x_BCHW, seeded(3), torch.tensor([True, False] * 5))
    assert masked.is_contiguous(memory_format=torch.channels_last)
    torch.manual_seed(5)
    one = augment(x_BCHW)
    torch.manual_seed(5)
    assert torch.equal(one, augment(x_BCHW))


def test_a_mask_turns_with_its_image(noise, seeded):
    """As a fourth channel it undergoes the very same map."""
    x_BCHW = noise(channels=3)
    both = torch.cat([x_BCHW, x_BCHW[:, :1]], dim=1)
    out = augmentation({})(both, seeded())
    assert torch.equal(out[:, 3], out[:, 0])


def test_a_mask_has_no_colours_and_no_holes(noise, seeded):
    both = torch.cat([noise(), noise()[:, :1]], dim=1)
    plain = augmentation({})(both, seeded())
    out = augmentation({"colour": COLOUR, "cutout": {"side": 5}})(both, seeded())
    assert torch.equal(out[:, 3], plain[:, 3])
    assert not torch.equal(out[:, 0], plain[:, 0])
