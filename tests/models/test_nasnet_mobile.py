"""NASNet-A Mobile against another implementation: timm's NASNet-A Large has the same normal cells."""

from __future__ import annotations

import torch
from timm.models.nasnet import NormalCell as TimmNormalCell

from dermlens.models.architectures import NASNetMobile, NormalCell

# ours ← timm's
PARTS = {
    "adjust": "conv_prev_1x1",
    "squeeze": "conv_1x1",
    "left1": "comb_iter_0_left",
    "right1": "comb_iter_0_right",
    "left2": "comb_iter_1_left",
    "right2": "comb_iter_1_right",
    "left5": "comb_iter_4_left",
}


def test_normal_cell_computes_what_timms_does():
    ours = NormalCell(12, 10, 8, halve_before=False).eval()
    theirs = TimmNormalCell(10, 8, 12, 8, pad_type="same").eval()
    for mine, name in PARTS.items():
        pairs = zip(
            ours.get_submodule(mine).state_dict().values(),
            theirs.get_submodule(name).state_dict().values(),
            strict=True,
        )
        for tensor, other in pairs:
            if other.dim():
                other.data.copy_(torch.rand_like(other) + 0.1)
                tensor.data.copy_(other)
    now, before = torch.randn(2, 12, 7, 7), torch.randn(2, 10, 7, 7)
    torch.testing.assert_close(ours(now, before), theirs(now, before))


def test_counts_of_keras_applications():
    with torch.device("meta"):
        network = NASNetMobile()
    statistics = sum(b.numel() for name, b in network.named_buffers() if "running" in name)
    trainable = sum(p.numel() for p in network.parameters())
    assert (trainable, trainable + statistics) == (5_289_978, 5_326_716)
