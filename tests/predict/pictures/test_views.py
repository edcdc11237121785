from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dermlens.predict.pictures.preprocessing import ViewsConfig, average_views, symmetry

RNG = np.random.default_rng(0)
X_BSSC = RNG.integers(0, 256, (2, 5, 5, 3), dtype=np.uint8)
WEIGHT_DC = RNG.normal(size=(5 * 5 * 3, 4))


def as_set(views):
    return {view.tobytes() for view in views}


def network(x_BSSC):
    """Logits that know where each pixel lies, so that every symmetry gives others."""
    features_BD = x_BSSC.reshape(len(x_BSSC), -1).astype(np.float32)
    return features_BD @ WEIGHT_DC, features_BD


def test_the_eight_are_those_of_numpy():
    turned = [np.rot90(X_BSSC, k, axes=(1, 2)) for k in range(4)]
    mirrored = [view[:, :, ::-1] for view in turned]
    ours = [symmetry(X_BSSC, index) for index in range(8)]
    assert as_set(ours) == as_set([*turned, *mirrored])
    assert len(as_set(ours)) == 8
    assert all(view.flags.c_contiguous for view in ours)


def test_the_first_are_identity_mirror_and_half_turn():
    assert np.array_equal(symmetry(X_BSSC, 0), X_BSSC)
    assert np.array_equal(symmetry(X_BSSC, 1), X_BSSC[:, :, ::-1])
    assert np.array_equal(symmetry(X_BSSC, 2), X_BSSC[:, ::-1])
    assert np.array_equal(symmetry(X_BSSC, 3), np.rot90(X_BSSC, 2, axes=(1, 2)))


@pytest.mark.parametrize("order", [1, 2, 4, 8])
def test_each_choice_is_a_group(order):
    members = as_set(symmetry(X_BSSC, index) for index in range(order))
    for a in range(order):
        for b in range(order):
            assert symmetry(symmetry(X_BSSC, a), b).tobytes() in members


@pytest.mark.parametrize("order", [2, 4, 8])
@given(index=st.integers(0, 7))
def test_a_turned_photograph_gets_the_same_logits(order, index):
    index %= order
    views = ViewsConfig(symmetries=order)
    upright, _ = average_views(views, 5, lambda size: X_BSSC, network)
    turned, _ = average_views(views, 5, lambda size: symmetry(X_BSSC, index), network)
    np.testing.assert_allclose(turned, upright, rtol=1e-12)
    if index:
        assert not np.allclose(network(symmetry(X_BSSC, index))[0], network(X_BSSC)[0])


def test_no_views_is_the_network_itself():
    logits_BC, features_BD = average_views(ViewsConfig(), 5, lambda size: X_BSSC, network)
    np.testing.assert_array_equal(logits_BC, network(X_BSSC)[0])
    np.testing.assert_array_equal(features_BD, network(X_BSSC)[1])


def test_the_vote_is_the_geometric_mean_of_probabilities():
    def softmax(logits):
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def small(x_BSSC):
        logits_BC, features_BD = network(x_BSSC)
        return logits_BC / 500, features_BD

    logits_BC, _ = average_views(ViewsConfig(symmetries=8), 5, lambda size: X_BSSC, small)
    p_VBC = np.stack([softmax(small(symmetry(X_BSSC, index))[0]) for index in range(8)])
    geometric_BC = p_VBC.prod(axis=0) ** (1 / 8)
    expected_BC = geometric_BC / geometric_BC.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(logits_BC), expected_BC, rtol=1e-9)


def test_sizes_are_averaged_and_features_are_of_the_own_one():
    """A network whose logits and features are the size that it saw."""

    def pixels(size):
        return np.zeros((2, size, size, 3), np.uint8)

    def tell(x_BSSC):
        widths = np.full((2, 3), float(x_BSSC.shape[1]))
        return widths, widths

    for sizes, mean in (((), 64), ((32,), 32), ((64, 96), 80), ((32, 64, 96), 64)):
        logits_BC, features_BD = average_views(ViewsConfig(symmetries=2, sizes=sizes), 64, pixels, tell)
        np.testing.assert_array_equal(logits_BC, np.full((2, 3), mean))
        np.testing.assert_array_equal(features_BD, np.full((2, 3), 64))


@pytest.mark.parametrize("wrong", [{"symmetries": 3}, {"sizes": (64, 64)}, {"sizes": (8,)}, {"flips": 2}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        ViewsConfig.model_validate(wrong)


def test_other_sizes_need_global_pooling():
    views = ViewsConfig(sizes=(64, 96))
    views.check(own=64, pool="gap")
    ViewsConfig(sizes=(64,)).check(own=64, pool="flatten")
    with pytest.raises(ValueError, match=r"size 96.*64.*model\.pool gap"):
        views.check(own=64, pool="flatten")
