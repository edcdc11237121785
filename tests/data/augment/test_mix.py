"""Mixup and CutMix: pixels by hand, shares by counting, the distribution by SciPy's."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import beta, kstest

from dermlens.data.augment.geometry import mix
from dermlens.data.config import MixConfig

KINDS = ["mixup", "cutmix"]


def distinct(batch: int, side: int = 8) -> torch.Tensor:
    """Blank images, each of a level of its own, so that every pixel tells whose it is."""
    level_B = torch.arange(batch, dtype=torch.float32) % 256
    blank_BHWC = level_B[:, None, None, None].expand(batch, side, side, 3).contiguous()
    return blank_BHWC.permute(0, 3, 1, 2)


def test_mixup_is_the_weighted_mean_of_both(noise, seeded):
    x_BCHW = noise().float()
    out_BCHW, partner_B, share_B = mix(MixConfig(kind="mixup", alpha=1), x_BCHW, seeded())
    for image in range(6):
        share, other = float(share_B[image]), x_BCHW[partner_B[image]]
        torch.testing.assert_close(out_BCHW[image], share * x_BCHW[image] + (1 - share) * other)


def test_cutmix_sets_a_box_of_the_partner_in_and_its_share_is_exact(seeded):
    x_BCHW = distinct(200, side=15)
    out_BCHW, partner_B, share_B = mix(MixConfig(kind="cutmix", alpha=1), x_BCHW, seeded())
    own_BHW = (out_BCHW == x_BCHW).all(1)
    others = partner_B != torch.arange(200)
    torch.testing.assert_close(own_BHW.float().mean((1, 2))[others], share_B[others])
    assert torch.equal(torch.where(own_BHW[:, None], x_BCHW, x_BCHW[partner_B]), out_BCHW)
    for box_HW in ~own_BHW[others]:  # all rows that are touched are touched alike: one rectangle
        rows, columns = box_HW.any(1), box_HW.any(0)
        assert torch.equal(box_HW, rows[:, None] & columns)
        assert rows.float().diff().abs().sum() <= 2
        assert columns.float().diff().abs().sum() <= 2


def test_cutmix_boxes_take_what_lambda_leaves():
    """Far from the border, where nothing is clipped, a box has 1 − λ of the pixels: Yun et al., Eq. 2."""
    from dermlens.data.augment.geometry import _boxes

    share_B = torch.tensor([0.91, 0.75, 0.64])
    box_BHW = _boxes(share_B, torch.full((3, 2), 0.5), 100, 100)
    torch.testing.assert_close(box_BHW.float().mean((1, 2)), 1 - share_B, atol=1e-3, rtol=0)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_lambda_is_beta(alpha, seeded):
    share_B = mix(MixConfig(kind="mixup", alpha=alpha), distinct(4000, side=1), seeded())[2]
    assert kstest(share_B.double().clamp(1e-12, 1 - 1e-12).numpy(), beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_so_many_are_mixed_and_the_others_untouched(kind, seeded):
    x_BCHW = distinct(1000)
    out_BCHW, _, share_B = mix(MixConfig(kind=kind, alpha=5, probability=0.3), x_BCHW, seeded())
    alone = share_B == 1
    assert 650 < alone.sum() < 750
    assert torch.equal(out_BCHW[alone], x_BCHW[alone])


@pytest.mark.parametrize("kind", KINDS)
def test_contract(kind, noise, seeded):
    """Partners are a permutation, the seed decides, pixels do not, and memory stays channels-last."""
    config, x_BCHW = MixConfig(kind=kind, alpha=1), noise(batch=9).float()
    before = x_BCHW.clone()
    out_BCHW, partner_B, share_B = mix(config, x_BCHW, seeded(3))
    assert torch.equal(x_BCHW, before)
    assert partner_B.sort().values.tolist() == list(range(9))
    assert share_B.dtype == torch.float32
    assert ((share_B >= 0) & (share_B <= 1)).all()
    assert out_BCHW.is_contiguous(memory_format=torch.channels_last)
    assert out_BCHW.min() >= 0
    assert out_BCHW.max() <= 255
    again = mix(config, 255 - x_BCHW, seeded(3))
    assert torch.equal(again[1], partner_B)
    assert torch.equal(again[2], share_B)
    assert not torch.equal(mix(config, x_BCHW, seeded(4))[2], share_B)


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_is_its_own_partner(kind, noise, seeded):
    x_BCHW = noise(batch=1).float()
    torch.testing.assert_close(mix(MixConfig(kind=kind), x_BCHW, seeded())[0], x_BCHW)
