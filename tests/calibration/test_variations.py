"""What each way leaves of a picture, by hand."""

from __future__ import annotations

import pytest
import torch

from dermlens.calibration.variations import WAYS, varied


@pytest.fixture(name="pictures_BCSS")
def made():
    rng = torch.Generator().manual_seed(0)
    coarse = torch.randint(60, 190, (40, 3, 6, 6), generator=rng).float()
    return torch.nn.functional.interpolate(coarse, size=96, mode="bilinear").to(torch.uint8)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_another_picture_of_the_same_form(pictures_BCSS, way):
    before = pictures_BCSS[0].clone()
    after = WAYS[way](pictures_BCSS[0])
    assert after.dtype == torch.uint8
    assert after.shape == before.shape
    assert (after != before).any()
    assert torch.equal(pictures_BCSS[0], before), "changed in place"


def test_a_round_view_is_black_outside_its_circle(pictures_BCSS):
    for way, radius in (("round field of view", 48), ("small round field of view", 0.42 * 96)):
        after = WAYS[way](pictures_BCSS[0])
        for row in range(96):
            for column in range(96):
                inside = (row - 47.5) ** 2 + (column - 47.5) ** 2 <= radius**2
                wanted = pictures_BCSS[0, :, row, column] if inside else torch.zeros(3, dtype=torch.uint8)
                assert torch.equal(after[:, row, column], wanted)


def test_light_and_sharpness_move_as_they_are_named(pictures_BCSS):
    picture = pictures_BCSS[0]
    mean = {way: WAYS[way](picture).float().mean((1, 2)) for way in WAYS}
    own = picture.float().mean((1, 2))
    assert torch.allclose(mean["darker"], 0.6 * own, atol=1)
    assert (mean["brighter"] > 1.2 * own).all()
    assert mean["warmer"][0] > own[0] > own[2] > mean["warmer"][2]

    def rough(x_CSS):
        return float(x_CSS.float().diff(dim=2).abs().mean())

    def after(way):
        return rough(WAYS[way](picture))

    assert after("softer") < rough(picture) < after("sharpened")
    assert after("twice as close") < rough(picture) < after("grained")


def test_a_picture_is_varied_alike_each_time_and_pictures_differ_in_the_way(pictures_BCSS):
    after = varied(pictures_BCSS)
    assert torch.equal(varied(pictures_BCSS.flip(0)).flip(0), after)
    seen = set()
    for before, now in zip(pictures_BCSS, after, strict=True):
        (way,) = [way for way, change in WAYS.items() if torch.equal(change(before), now)]
        seen.add(way)
    assert len(seen) > len(WAYS) / 2
