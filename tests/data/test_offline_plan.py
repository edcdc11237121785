"""The authors' printed counts, and a literal simulation of their directory iterator."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.data.loaders import offline_plan, planned_epoch

# Training images per class of the authors' 15 % split (notebook Data Preprocessing), and what lay
# in their folders after the offline augmentation.
TRAIN_15 = {"akiec": 278, "bcc": 437, "bkl": 925, "df": 98, "mel": 944, "nv": 5661, "vasc": 121}
FOLDERS_15 = {"akiec": 7478, "bcc": 7829, "bkl": 7850, "df": 7890, "mel": 8002, "nv": 8011, "vasc": 6513}


def batches_of_a_directory_iterator(n: int, batch: int = 50):
    """Sizes of the batches that Keras's iterator yields, pass after pass, for ever."""
    while True:
        yield from [batch] * (n // batch)
        if n % batch:
            yield n % batch


def test_the_15_percent_split_gives_the_printed_53573():
    assert offline_plan(TRAIN_15) == FOLDERS_15
    assert sum(FOLDERS_15.values()) == 53_573


@given(st.integers(1, 9000))
def test_any_class_grows_as_the_iterator_would_have_it(n):
    wanted = max(0, -(-(8000 - n) // 50))
    generated = sum(islice(batches_of_a_directory_iterator(n), wanted))
    assert offline_plan({"mel": n}) == {"mel": n + generated}


def test_a_class_without_images_stays_empty():
    assert offline_plan({"df": 0}) == {"df": 0}


@pytest.mark.parametrize("sizes", [(278, 98), (121, 7990), (49, 50, 51)])
def test_an_epoch_holds_each_original_once_unaugmented_and_copies_evenly(sizes):
    target_N = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    positions_E, augment_E = planned_epoch(target_N, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(positions_E[~augment_E]), np.arange(len(target_N)))
    drawn_C = np.bincount(target_N[positions_E], minlength=len(sizes))
    assert drawn_C.tolist() == list(offline_plan(dict(enumerate(sizes))).values())
    times_N = np.bincount(positions_E, minlength=len(target_N))
    for target in range(len(sizes)):  # an iterator comes to no image a second time before it has seen all
        assert np.ptp(times_N[target_N == target]) <= 1


def test_the_incomplete_pass_is_drawn_anew():
    target_N = np.zeros(278, int)
    first, _ = planned_epoch(target_N, np.random.default_rng(1))
    again, _ = planned_epoch(target_N, np.random.default_rng(1))
    other, _ = planned_epoch(target_N, np.random.default_rng(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
