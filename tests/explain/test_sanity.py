"""A network that forgets from its end on, and maps that are compared bare."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity as theirs

from benchmarks.faithfulness import cascade, compare_maps, sanity_table, structural_similarity
from dermlens.explain.methods import METHODS
from dermlens.training.optimisers import backbone_blocks

from .conftest import SIDE, patient


@pytest.fixture(scope="module")
def images(tiny):
    x_BSSC = np.random.default_rng(0).integers(0, 255, (4, SIDE, SIDE, 3)).astype(np.uint8)
    return x_BSSC, np.repeat(patient(tiny("gap"))[None], 4, axis=0)


def test_it_forgets_one_block_after_the_other_and_the_trained_weights_stay(tiny, images):
    saved = tiny("gap")
    before = {name: value.clone() for name, value in saved.model.state_dict().items()}
    blocks = ["head", *reversed(backbone_blocks(saved.model))]
    steps = list(cascade(saved, *images, seed=1))
    assert [name for name, _ in steps] == blocks
    for place, (_, model) in enumerate(steps):
        for name, weight in saved.model.named_parameters():
            if weight.dim() < 2:
                continue
            gone = any(name.startswith(f"{block}.") for block in blocks[: place + 1])
            assert torch.equal(model.model.get_parameter(name), weight) == (not gone), name
        assert not model.model.training
    assert all(torch.equal(value, before[name]) for name, value in saved.model.state_dict().items())


def test_bare_maps_are_compared_by_scikit_image_and_scipy():
    rng = np.random.default_rng(2)
    one_SS, other_SS = rng.random((32, 32)), rng.random((32, 32))
    one_SS[0, :2], other_SS[0, :2] = (0, 1), (0, 1)
    assert structural_similarity(one_SS, other_SS) == pytest.approx(
        theirs(one_SS, other_SS, win_size=9, data_range=1)
    )
    assert structural_similarity(7 * one_SS - 3, other_SS) == pytest.approx(
        structural_similarity(one_SS, other_SS)
    )
    assert np.isnan(structural_similarity(np.ones((16, 16)), other_SS[:16, :16]))

    def draw(model, image_SSC, meta_M, target):
        from dermlens.explain.network import Heat

        return Heat(one_SS if model == "one" else other_SS)

    found = compare_maps("one", "other", draw, np.zeros((1, 32, 32, 3), np.uint8), np.zeros((1, 2)), [0])
    assert found["rank"] == pytest.approx(spearmanr(one_SS.ravel(), other_SS.ravel()).statistic)


def test_a_repeated_map_is_the_same_and_a_forgotten_one_is_not(tiny, images):
    x_BSSC, meta_BM = (part[:2] for part in images)
    methods = {name: METHODS[name].draw for name in ("evidence",)}
    table = sanity_table(tiny("gap"), methods, x_BSSC, meta_BM, [4, 1]).set_index("forgotten")
    assert table.loc["nothing", ["ssim", "rank"]].tolist() == pytest.approx([1, 1])
    assert table["rank"].iloc[-1] < 0.9
    assert len(table) == 2 + len(backbone_blocks(tiny("gap").model))
