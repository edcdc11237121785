from __future__ import annotations

import pytest
import torch

from dermlens.models.metadata_branch import BRANCHES, FiLM, GessertBranch, MetaBlock, PaperBranch
from dermlens.testing import check_metadata_branch


@pytest.mark.parametrize("name", BRANCHES)
def test_every_branch_keeps_the_contract(name):
    check_metadata_branch(name)


def test_paper_branch_has_the_published_count():
    assert sum(p.numel() for p in PaperBranch(21, 128).parameters()) == 90_112


def test_gessert_drops_a_tenth_of_the_inputs_in_training_only():
    branch, meta_BM = GessertBranch(500, 8), torch.ones(200, 500)
    seen = []
    branch.layers.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    branch(meta_BM)
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}  # kept as they are, not scaled up
    assert (seen[0] == 0).float().mean() == pytest.approx(0.1, abs=0.01)
    branch.eval()(meta_BM)
    assert torch.equal(seen[1], meta_BM)


def test_film_starts_as_the_identity_and_scales_and_shifts_each_channel():
    film, x_BCHW = FiLM(1, 2), torch.randn(1, 2, 3, 3)
    assert torch.equal(film.modulate(x_BCHW, torch.randn(1, 1)), x_BCHW)
    with torch.no_grad():
        film.linear.bias.copy_(torch.tensor([1.0, -1.0, 0.5, 3.0]))
    out = film.modulate(x_BCHW, torch.zeros(1, 1))
    torch.testing.assert_close(out[:, 0], x_BCHW[:, 0] * 2 + 0.5)
    torch.testing.assert_close(out[:, 1], torch.full_like(out[:, 1], 3.0))


def test_metablock_is_pacheco_and_krohlings_formula():
    """Their layer works on (B, C, L), a list of positions; the gate of one example, written out."""
    block = MetaBlock(5, 6).eval()
    x_BCHW, meta_BM = torch.randn(2, 6, 3, 3), torch.randn(2, 5)
    t1, t2 = block.f(meta_BM)[1], block.g(meta_BM)[1]
    out = block.modulate(x_BCHW, meta_BM)
    for c in range(6):
        inner = torch.tanh(x_BCHW[1, c] * t1[c]) + t2[c]
        torch.testing.assert_close(out[1, c], 1 / (1 + torch.exp(-inner)))
    assert bool(((out > 0) & (out < 1)).all())
