"""Policies: what is drawn, what each operation does, and that none turns dark into light."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr
from torch.nn.functional import interpolate
from torch.testing import assert_close
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as oracle

from dermlens.data.augment.augmentation import (
    FILTERS,
    MOVES,
    POOL,
    Operations,
    draw_operations,
    filtered,
    operations,
    then_move,
)
from dermlens.data.augment.colour import GREY, colour_maps, recolour
from dermlens.data.augment.geometry import draw_maps, view
from dermlens.data.config import AugmentConfig, RandAugmentConfig, TrivialAugmentConfig

STILL = torch.tensor([[1.0, 0, 0], [0, 1, 0]])


def one_operation(name: str, magnitude: float, turned: bool, batch: int = 1) -> Operations:
    which_BT = torch.full((batch, 1), POOL.index(name))
    return operations(
        which_BT,
        torch.full((batch, 1), magnitude),
        torch.full((batch, 1), turned),
        torch.linspace(0, 6, batch)[:, None],
    )


def done(x_BCHW: torch.Tensor, drawn: Operations) -> torch.Tensor:
    x_BCHW = view(x_BCHW, then_move(STILL.expand(len(x_BCHW), 2, 3), drawn.moves_BT23))
    x_BCHW = recolour(x_BCHW, colour_maps(drawn.colours_BT6))
    return filtered(x_BCHW, drawn.filters_BT, drawn.strength_BT)


def smooth(batch: int = 4, side: int = 48) -> torch.Tensor:
    """Soft blobs of skin colours that fade to one colour at the edge, where views repeat it."""
    coarse = torch.rand(batch, 3, 5, 5, generator=torch.Generator().manual_seed(2))
    blobs = interpolate(coarse, size=(side, side), mode="bicubic", align_corners=False)
    ramp = torch.hann_window(side, periodic=False)
    skin = torch.tensor([190.0, 140, 120])[:, None, None]
    return (skin - 160 * ramp[:, None] * ramp * blobs.clamp(0, 0.8)).clamp(0, 255).contiguous()


@pytest.mark.parametrize("name", [name for name in POOL if name != "autocontrast"])
def test_magnitude_zero_is_no_change(name):
    x_BCHW = smooth()
    assert_close(done(x_BCHW, one_operation(name, 0.0, True, 4)), x_BCHW, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", POOL[1:])
@pytest.mark.parametrize("turned", [True, False])
def test_every_operation_changes_images_and_keeps_to_the_range(name, turned):
    out_BCHW = done(smooth(), one_operation(name, 1.0, turned, 4))
    assert (out_BCHW - smooth()).abs().amax((1, 2, 3)).min() > 1
    assert out_BCHW.min() >= 0
    assert out_BCHW.max() <= 255


@pytest.mark.parametrize("name", [name for name in POOL if name not in MOVES])
@pytest.mark.parametrize("turned", [True, False])
def test_dark_stays_darker_than_light(name, turned):
    """Luminance keeps its order: nothing is inverted, solarised or levelled."""
    x_BCHW, grey_3 = smooth(), torch.tensor(GREY)
    out_BCHW = done(x_BCHW, one_operation(name, 1.0, turned, 4))
    for x_CHW, out_CHW in zip(x_BCHW, out_BCHW, strict=True):
        rank = spearmanr(
            torch.einsum("c,chw->hw", grey_3, x_CHW).flatten(),
            torch.einsum("c,chw->hw", grey_3, out_CHW).flatten(),
        )
        assert rank.statistic > 0.9


MOVED = {  # what torchvision calls the same, for the first direction
    "rotate": {"angle": -0.4 * 180},
    "shear_x": {"shear": [math.degrees(math.atan(0.4 * 0.3)), 0.0]},
    "shear_y": {"shear": [0.0, math.degrees(math.atan(0.4 * 0.3))]},
    "translate_x": {"translate": [-0.4 * 0.6 * 24, 0]},
    "translate_y": {"translate": [0, -0.4 * 0.6 * 24]},
    "zoom": {"scale": math.exp(-0.4 * 0.4)},
}


@pytest.mark.parametrize("name", MOVES)
def test_moves_are_torchvisions(name):
    """Where both look inside the image: outside torchvision fills with a colour."""
    x_BCHW = smooth()
    about = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]} | MOVED[name]
    padded_BCHW = oracle.pad(x_BCHW, [24] * 4, padding_mode="edge")
    want_BCHW = oracle.affine(padded_BCHW, **about, interpolation=InterpolationMode.BILINEAR)
    out_BCHW = done(x_BCHW, one_operation(name, 0.4, False, 4))
    assert_close(out_BCHW, oracle.center_crop(want_BCHW, [48, 48]), atol=0.5, rtol=0)


def test_moves_are_made_one_after_the_other(seeded):
    """One map at the end is all of them, but for interpolating once instead of thrice."""
    x_BCHW = smooth(side=96)
    drawn = operations(
        torch.tensor([[POOL.index("rotate"), POOL.index("shear_x")]]).expand(4, 2),
        torch.tensor([[0.1, 0.5]]).expand(4, 2),
        torch.zeros(4, 2, dtype=torch.bool),
        torch.zeros(4, 2),
    )
    first_B23 = draw_maps(AugmentConfig(rotation=10), 4, seeded())
    stepwise = view(x_BCHW, first_B23)
    for move_B23 in drawn.moves_BT23.unbind(1):
        stepwise = view(stepwise, move_B23)
    at_once = view(x_BCHW, then_move(first_B23, drawn.moves_BT23))
    assert (at_once - stepwise).abs().mean() < 0.5
    turned_round = view(x_BCHW, then_move(first_B23, drawn.moves_BT23.flip(1)))
    assert (at_once - turned_round).abs().mean() > 1  # so that the order is seen


def test_filters_keep_their_order_and_their_images(noise):
    x_BCHW = noise(batch=3).float().contiguous()
    which = [["gamma", "autocontrast"], ["autocontrast", "gamma"], ["rotate", "identity"]]
    filters_BT = torch.tensor([[POOL.index(name) for name in names] for names in which])
    strength_BT = torch.tensor([[0.4, 1.0], [1.0, -0.3], [0.4, 0.4]])
    out_BCHW = filtered(x_BCHW.clone(), filters_BT, strength_BT)
    for row, names in enumerate(which):
        want = x_BCHW[row : row + 1]
        for name, strength in zip(names, strength_BT[row], strict=True):
            if name in FILTERS:
                want = FILTERS[name][2](want, strength[None])
        assert torch.equal(out_BCHW[row], want[0])


def counts(which_BT: torch.Tensor) -> torch.Tensor:
    return torch.bincount(which_BT.flatten(), minlength=len(POOL))


def test_randaugment_draws_each_operation_alike_at_one_magnitude(seeded):
    drawn = draw_operations(RandAugmentConfig(operations=3, magnitude=0.4), 5000, seeded())
    assert drawn.filters_BT.shape == (5000, 3)
    share = counts(drawn.filters_BT) / 15000
    assert (share - 1 / len(POOL)).abs().max() < 0.008
    sharp = drawn.strength_BT[drawn.filters_BT == POOL.index("sharpness")]
    assert_close(sharp.abs(), torch.full_like(sharp, 0.4 * 0.9))
    assert (sharp > 0).float().mean() == pytest.approx(0.5, abs=0.06)
    bright = drawn.colours_BT6[..., 0]
    assert_close(bright.unique(), torch.tensor([1 - 0.4 * 0.45, 1, 1 + 0.4 * 0.45]))
    first, second = drawn.filters_BT[:, 0].double(), drawn.filters_BT[:, 1].double()
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.05


def test_trivialaugment_draws_one_operation_at_any_magnitude(seeded):
    drawn = draw_operations(TrivialAugmentConfig(), 8000, seeded())
    assert drawn.filters_BT.shape == (8000, 1)
    blurs = drawn.strength_BT[drawn.filters_BT == POOL.index("blur")] / 0.01
    assert blurs.min() >= 0
    assert torch.histc(blurs, 4, 0, 1).min() > 0.2 * len(blurs)
