"""Colours against torchvision, formulas by hand, and what must hold for any setting."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close
from torchvision.transforms.v2 import functional as oracle

from dermlens.data.augment.augmentation import Augmentation
from dermlens.data.augment.colour import (
    NEUTRAL,
    colour_maps,
    draw_colours,
    draw_gains,
    draw_gamma,
    recolour,
)
from dermlens.data.config import AugmentConfig, ColourConfig

COLUMN = {"brightness": 0, "contrast": 1, "saturation": 2, "hue": 3, "illuminant": 4, "angle": 5}


def setting(**changes: float) -> torch.Tensor:
    values = list(NEUTRAL)
    for name, value in changes.items():
        values[COLUMN[name]] = value
    return torch.tensor(values)


def coloured(x_BCHW: torch.Tensor, *settings: torch.Tensor) -> torch.Tensor:
    """All images by the same steps."""
    settings_BT6 = torch.stack(settings)[None].expand(len(x_BCHW), -1, -1)
    return recolour(x_BCHW.float().contiguous(), colour_maps(settings_BT6))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
def test_factors_are_torchvisions(name, noise):
    """Every image of a batch by a factor of its own."""
    x_BCHW, factors = noise(batch=5).float().contiguous(), [0.0, 0.3, 1.0, 1.4, 1.9]
    settings_BT6 = torch.stack([setting(**{name: factor}) for factor in factors])[:, None]
    out_BCHW = recolour(x_BCHW, colour_maps(settings_BT6))
    for x_CHW, out_CHW, factor in zip(x_BCHW, out_BCHW, factors, strict=True):
        want_CHW = 255 * getattr(oracle, f"adjust_{name}")(x_CHW / 255, factor)
        assert_close(out_CHW, want_CHW, atol=1e-3, rtol=0)


@pytest.mark.parametrize("turn", [-1 / 3, 0.0, 1 / 3])
def test_thirds_of_a_turn_of_hue_are_torchvisions(turn, noise):
    x_BCHW = noise().float()
    want_BCHW = 255 * oracle.adjust_hue(x_BCHW / 255, turn)
    assert_close(coloured(x_BCHW, setting(hue=turn)), want_BCHW.contiguous(), atol=1e-2, rtol=0)


def test_a_small_turn_of_hue_goes_as_far_as_torchvisions(noise):
    """By the angle in the plane that is at right angles to grey; the hexagon's corners make up the rest."""
    x_BCHW = 100 + noise().float() / 8
    ours = coloured(x_BCHW, setting(hue=0.05))
    theirs = 255 * oracle.adjust_hue(x_BCHW / 255, 0.05)

    def angle(y_BCHW: torch.Tensor) -> torch.Tensor:
        red, green, blue = y_BCHW.unbind(1)
        return torch.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)

    def turned(y_BCHW: torch.Tensor) -> torch.Tensor:
        return torch.remainder(angle(y_BCHW) - angle(x_BCHW) + math.pi, 2 * math.pi) - math.pi

    assert_close(turned(ours).median(), torch.tensor(0.05 * 2 * math.pi), atol=1e-3, rtol=0)
    assert_close(turned(theirs).median(), turned(ours).median(), atol=0.05, rtol=0)
    assert_close(ours.mean(1), x_BCHW.mean(1))


def test_an_illuminant_is_a_gain_a_channel_whose_product_is_one(noise):
    x_BCHW = noise().float() / 2
    out_BCHW = coloured(x_BCHW, setting(illuminant=0.3, angle=0.7))
    gain_3 = torch.tensor([math.exp(0.3 * math.cos(0.7 + 2 * math.pi * c / 3)) for c in range(3)])
    assert_close(out_BCHW, (x_BCHW * gain_3[:, None, None]).contiguous())
    assert gain_3.prod() == pytest.approx(1)


def test_steps_and_settings_follow_each_other_as_torchvisions_do(noise):
    """In the middle of the range, where nothing is cut off, one map is all the steps."""
    x_BCHW = 110 + noise().float() / 8
    first = setting(brightness=1.1, contrast=0.8, saturation=1.3)
    second = setting(contrast=1.2, brightness=0.9)
    want = x_BCHW / 255
    for name, factor in [
        ("brightness", 1.1),
        ("contrast", 0.8),
        ("saturation", 1.3),
        ("brightness", 0.9),
        ("contrast", 1.2),
    ]:
        want = getattr(oracle, f"adjust_{name}")(want, factor)
    assert_close(coloured(x_BCHW, first, second), 255 * want.contiguous(), atol=1e-3, rtol=0)
    one_by_one = coloured(coloured(x_BCHW, setting(hue=0.02, illuminant=0.1)), setting(contrast=1.1))
    assert_close(coloured(x_BCHW, setting(hue=0.02, illuminant=0.1), setting(contrast=1.1)), one_by_one)


def test_neutral_is_no_change(noise):
    assert_close(coloured(noise(), setting()), noise().float().contiguous(), atol=1e-3, rtol=0)


def test_colours_are_held_to_the_range(noise):
    out_BCHW = coloured(noise(), setting(brightness=1.9, contrast=1.9, saturation=2.0, illuminant=1.0))
    assert out_BCHW.min() == 0
    assert out_BCHW.max() == 255


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue", "illuminant"])
def test_a_limit_moves_its_own_setting_alone_and_is_reached(name, seeded):
    drawn_B6 = draw_colours(ColourConfig(**{name: 0.2}), 4000, seeded())[:, 0]
    column, neutral = COLUMN[name], NEUTRAL[COLUMN[name]]
    others = [c for c in range(5) if c != column]
    assert torch.equal(drawn_B6[:, others], torch.tensor(NEUTRAL)[others].expand(4000, -1))
    departure_B = drawn_B6[:, column] - neutral
    assert -0.2 - 1e-6 <= departure_B.min() < -0.198
    assert 0.2 + 1e-6 >= departure_B.max() > 0.198
    assert departure_B.mean() == pytest.approx(0, abs=0.01)
    assert departure_B.abs().median() == pytest.approx(0.1, abs=0.01)


def test_illuminants_go_in_every_direction(seeded):
    drawn_B6 = draw_colours(ColourConfig(illuminant=0.2), 4000, seeded())[:, 0]
    assert torch.histc(drawn_B6[:, 5], 8, -math.pi, math.pi).min() > 400


def test_nothing_asked_for_draws_nothing(seeded):
    generator = seeded()
    before = generator.get_state()
    assert draw_colours(ColourConfig(), 4, generator).shape == (4, 0, 6)
    assert torch.equal(generator.get_state(), before)


def test_gains_are_of_each_channel_by_itself(seeded):
    gain_B3 = draw_gains(ColourConfig(gains=0.18), 4000, seeded()).log()
    assert gain_B3.abs().max() <= 0.18 + 1e-6
    assert (gain_B3.amax(0) > 0.175).all()
    assert (gain_B3.amin(0) < -0.175).all()
    assert torch.corrcoef(gain_B3.T).triu(1).abs().max() < 0.05


def test_gains_and_gamma_are_what_an_image_gets(noise, seeded):
    """Of a recipe of nothing else: 255·(x/255)^exp(s), then a gain a channel, held to 0 … 255."""
    still = {"rotation": 0, "shift": 0, "zoom": 0, "horizontal_flip": False, "vertical_flip": False}
    config = AugmentConfig.model_validate(still | {"colour": {"gains": 0.2, "gamma": 0.3}})
    x_BCHW = noise(batch=5)
    replay = seeded(2)
    torch.rand(5, 5, generator=replay), torch.rand(5, 2, generator=replay)  # the views
    gain_B3 = draw_gains(config.colour, 5, replay)
    gamma_B = draw_gamma(config.colour, 5, replay)
    bent = 255 * (x_BCHW.float() / 255) ** gamma_B.exp()[:, None, None, None]
    expected = (bent * gain_B3[:, :, None, None]).clamp(0, 255)
    assert_close(Augmentation(config)(x_BCHW, seeded(2)), expected, atol=5e-2, rtol=0)


def test_gamma_draws_to_either_side_up_to_its_limit(seeded):
    strength_B = draw_gamma(ColourConfig(gamma=0.3), 4000, seeded())
    assert -0.3 <= strength_B.min() < -0.29
    assert 0.3 >= strength_B.max() > 0.29
