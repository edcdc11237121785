"""Which images an epoch is made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.errors import UserError
from dermlens.sections import ImageSamplerConfig, LesionSamplerConfig, PowerSamplerConfig
from dermlens.testing import check_sampler
from dermlens.training.sampling import epoch_positions

CODES = ("akiec", "mel", "nv")


def drawn(config, targets, lesions=None, seed=0):
    lesions = lesions if lesions is not None else [f"L{i}" for i in range(len(targets))]
    rng = np.random.default_rng(seed)
    return epoch_positions(config, np.array(targets), lesions, rng, CODES)


def counts(positions, targets):
    return np.bincount(np.array(targets)[positions], minlength=3).tolist()


TARGETS = [0] * 4 + [1] * 16 + [2] * 100

some_targets = st.lists(st.sampled_from([0, 1, 2]), min_size=1, max_size=60)


def test_images_are_all_there_once():
    assert drawn(ImageSamplerConfig(), TARGETS).tolist() == list(range(120))


def test_square_root_sampling_by_hand():
    """√4 : √16 : √100 = 2 : 4 : 10 of 120 images."""
    assert counts(drawn(PowerSamplerConfig(exponent=0.5), TARGETS), TARGETS) == [15, 30, 75]


def test_class_balanced_sampling_is_even():
    assert counts(drawn(PowerSamplerConfig(exponent=0), TARGETS), TARGETS) == [40, 40, 40]


@given(some_targets)
def test_exponent_one_is_every_image_once(targets):
    assert sorted(drawn(PowerSamplerConfig(exponent=1), targets)) == list(range(len(targets)))


@given(some_targets, st.floats(0, 1), st.integers(0, 5))
def test_within_a_class_no_image_comes_twice_before_all_came_once(targets, exponent, seed):
    often = np.bincount(
        drawn(PowerSamplerConfig(exponent=exponent), targets, seed=seed), minlength=len(targets)
    )
    for target in set(targets):
        of_class = often[np.array(targets) == target]
        assert of_class.max() - of_class.min() <= 1
        assert of_class.max() >= 1


@given(some_targets, st.floats(0, 1))
def test_class_counts_do_not_depend_on_the_epoch(targets, exponent):
    config = PowerSamplerConfig(exponent=exponent)
    assert counts(drawn(config, targets, seed=1), targets) == counts(drawn(config, targets, seed=2), targets)


def test_one_image_of_each_lesion():
    lesions = ["a", "a", "a", "b", "c", "c"]
    positions = drawn(LesionSamplerConfig(), [2, 2, 2, 2, 1, 1], lesions)
    assert sorted(np.array(lesions)[positions]) == ["a", "b", "c"]
    seen = {
        tuple(sorted(drawn(LesionSamplerConfig(), [2, 2, 2, 2, 1, 1], lesions, seed))) for seed in range(40)
    }
    assert len(seen) == 6  # 3 images of a, 2 of c, over the epochs


def test_lesion_whose_images_disagree_counts_in_each_class():
    positions = drawn(LesionSamplerConfig(), [1, 2, 2], ["a", "a", "a"])
    assert counts(positions, [1, 2, 2]) == [0, 1, 1]


def test_caps_and_repeats():
    config = LesionSamplerConfig(caps={"nv": 30}, repeats={"akiec": 3})
    assert counts(drawn(config, TARGETS), TARGETS) == [12, 16, 30]
    union = {position for seed in range(60) for position in drawn(config, TARGETS, seed=seed)}
    assert union == set(range(120))  # other nevi each time, and in the end all


@pytest.mark.parametrize("key", ["caps", "repeats"])
def test_class_that_is_not_there_is_named(key):
    with pytest.raises(UserError, match=rf"imbalance.sampler.{key}.*nevus"):
        drawn(LesionSamplerConfig(**{key: {"nevus": 3}}), TARGETS)


@pytest.mark.parametrize(
    "config",
    [
        ImageSamplerConfig(),
        PowerSamplerConfig(),
        LesionSamplerConfig(caps={"nv": 30}, by_source={"there": {"repeats": {"mel": 2}}}),
    ],
    ids=lambda config: config.kind,
)
def test_every_sampler_keeps_the_contract(config):
    check_sampler(config)


def from_sources(config, targets, sources, seed=0):
    lesions = [f"L{i}" for i in range(len(targets))]
    return epoch_positions(config, np.array(targets), lesions, np.random.default_rng(seed), CODES, sources)


def test_a_source_has_caps_and_repeats_of_its_own_and_the_others_share_theirs():
    """Two sources of 100 nevi share one cap of 30; the third has its own, and repeats its melanomas."""
    targets = ([2] * 100 + [1] * 4) * 3
    sources = [name for name in ("a", "b", "c") for _ in range(104)]
    config = LesionSamplerConfig(
        caps={"nv": 30}, repeats={"mel": 2}, by_source={"c": {"caps": {"nv": 7}, "repeats": {"mel": 5}}}
    )
    positions = from_sources(config, targets, sources)
    of_c = np.array(sources)[positions] == "c"
    assert counts(positions[of_c], targets) == [0, 20, 7]
    assert counts(positions[~of_c], targets) == [0, 16, 30]


def test_a_source_that_is_named_and_not_there_changes_nothing():
    """As where it is left out of training."""
    plain = LesionSamplerConfig(caps={"nv": 30})
    named = LesionSamplerConfig(caps={"nv": 30}, by_source={"c": {"caps": {"nv": 1}}})
    sources = ["a"] * 60 + ["b"] * 60
    for seed in range(3):
        expected = from_sources(plain, TARGETS, sources, seed).tolist()
        assert from_sources(named, TARGETS, sources, seed).tolist() == expected
        assert drawn(plain, TARGETS, seed=seed).tolist() == expected


def test_class_that_a_source_names_and_that_is_not_there():
    config = LesionSamplerConfig(by_source={"c": {"repeats": {"nevus": 2}}})
    with pytest.raises(UserError, match=r"imbalance.sampler.by_source.c.repeats.*nevus"):
        from_sources(config, TARGETS, ["c"] * len(TARGETS))
