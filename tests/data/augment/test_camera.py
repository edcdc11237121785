"""Resolution and JPEG files, against Pillow's."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from dermlens.data.augment.colour import draw_shots, photographed
from dermlens.data.config import CameraConfig


def smooth(side: int = 64) -> torch.Tensor:
    """A picture without noise, (1, 3, side, side)."""
    coarse = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None]


def shot(x_BCHW: torch.Tensor, share: float = 1.0, quality: int = 0) -> torch.Tensor:
    batch = len(x_BCHW)
    return photographed(x_BCHW, torch.full((batch,), share), torch.full((batch,), quality))


@pytest.mark.parametrize("quality", [30, 60, 95])
def test_a_jpeg_file_is_pillows(quality):
    """Of the same quality and halved colours, both by libjpeg's tables: a few levels apart by rounding."""
    x_13HW = smooth()
    file = io.BytesIO()
    pixels = x_13HW[0].permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    theirs = np.asarray(Image.open(file)).astype(int)
    ours = shot(x_13HW, quality=quality)[0].permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - theirs).mean() < 1
    assert np.abs(ours - pixels).mean() > 0


def test_lower_quality_is_further_from_the_image(noise):
    x_BCHW = noise(side=32)
    far = [float((shot(x_BCHW, quality=q).float() - x_BCHW.float()).abs().mean()) for q in (10, 50, 95)]
    assert far[0] > far[1] > far[2]


def test_what_is_scaled_down_has_no_finer_detail(noise):
    """Noise at a quarter of its side has hardly anything left between neighbouring pixels; its mean stays."""
    x_BCHW = noise(side=64)
    out = shot(x_BCHW, share=0.25).float()

    def detail(y):
        return float(y.float().diff(dim=3).abs().mean())

    assert detail(out) < detail(x_BCHW) / 8
    torch.testing.assert_close(out.mean((2, 3)), x_BCHW.float().mean((2, 3)), atol=3.0, rtol=0)


def test_neither_is_the_image_itself_and_a_mask_is_left_alone(noise):
    x_BCHW = noise(channels=4)
    assert torch.equal(shot(x_BCHW), x_BCHW)
    out = shot(x_BCHW, share=0.5, quality=20)
    assert torch.equal(out[:, 3], x_BCHW[:, 3])
    assert not torch.equal(out[:, :3], x_BCHW[:, :3])


def test_draws_keep_to_the_limits_and_reach_them(seeded):
    config = CameraConfig(resample=0.4, quality=(40, 95), probability=0.5)
    share_B, quality_B = draw_shots(config, 20_000, seeded())
    scaled_B, written_B = share_B < 1, quality_B > 0
    for chosen_B in (scaled_B, written_B, scaled_B & written_B):
        expected = 0.25 if chosen_B is not scaled_B and chosen_B is not written_B else 0.5
        assert float(chosen_B.float().mean()) == pytest.approx(expected, abs=0.02)
    assert 0.4 <= share_B.min() < 0.41
    assert float(share_B[scaled_B].log().mean()) == pytest.approx(np.log(0.4) / 2, abs=0.01)
    assert (int(quality_B[written_B].min()), int(quality_B.max())) == (40, 95)


def test_a_quality_range_the_wrong_way_round_is_refused():
    with pytest.raises(ValueError, match="lowest"):
        CameraConfig(quality=(90, 40))
