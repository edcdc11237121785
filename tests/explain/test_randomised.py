"""The network that has learnt nothing."""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.faithfulness import randomised
from dermlens.explain.network import outputs

from .conftest import SIDE, patient


def test_all_weights_are_drawn_anew_by_the_seed_and_the_trained_ones_stay(tiny):
    saved = tiny("attention")
    before = {name: value.clone() for name, value in saved.model.state_dict().items()}
    x_BSSC = np.random.default_rng(0).integers(0, 255, (8, SIDE, SIDE, 3)).astype(np.uint8)
    meta_BM = np.repeat(patient(saved)[None], 8, axis=0)
    state = torch.random.get_rng_state()
    one, again, other = (randomised(saved, x_BSSC, meta_BM, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in saved.model.state_dict().items())
    for name, weight in saved.model.named_parameters():
        drawn = one.model.get_parameter(name)
        assert torch.equal(drawn, again.model.get_parameter(name))
        if weight.dim() > 1:
            assert not torch.equal(drawn, weight)
            assert not torch.equal(drawn, other.model.get_parameter(name))
    logits_BC, _ = outputs(one, x_BSSC, patient(saved))
    assert np.isfinite(logits_BC).all()
    assert logits_BC.std(axis=0).min() > 0  # something of an image reaches its end
