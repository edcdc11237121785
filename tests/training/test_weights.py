"""The weights against the numbers that the article and its code print, and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.training.sampling import class_weights

ALL_IMAGES = [327, 514, 1099, 115, 1113, 6705, 142]  # HAM10000, Table 2
PAPER_TRAIN = [294, 463, 980, 103, 1000, 5994, 128]  # the 10 % split's training images


def test_original_is_what_the_article_prints():
    printed = [30.63, 19.48, 9.11, 87.09, 9.00, 1.49, 70.53]
    np.testing.assert_allclose(class_weights("original", ALL_IMAGES), printed, atol=0.005)


def test_new_is_what_the_article_prints():
    exact = [4.3753, 2.7835, 1.3018, 12.4410, 1.2855, 0.2134, 10.0755]
    np.testing.assert_allclose(class_weights("new", ALL_IMAGES), exact, atol=5e-5)


def test_new_truncated_is_what_the_code_used():
    """31 notebooks hold these numbers: two decimals cut off, and vasc cut to a whole number."""
    new = class_weights("new", ALL_IMAGES)
    np.testing.assert_array_equal(np.floor(new[:6] * 100) / 100, [4.37, 2.78, 1.3, 12.44, 1.28, 0.21])
    assert np.floor(new[6]) == 10


def test_new_on_the_training_split():
    np.testing.assert_allclose(
        class_weights("new", PAPER_TRAIN), [4.355, 2.765, 1.306, 12.430, 1.280, 0.2136, 10.002], atol=5e-4
    )


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=9))
def test_new_is_scikit_learns_balanced_and_original_is_c_times_it(counts):
    classes = [f"class{i}" for i in range(len(counts))]
    labels = np.repeat(np.arange(len(counts)), counts)
    balanced = compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)
    new = class_weights("new", counts, classes)
    np.testing.assert_allclose(new, balanced)
    np.testing.assert_allclose(class_weights("original", counts, classes), len(counts) * new)
    # The mean weight of a sample is 1 under `new`: the loss keeps the scale of an unweighted one.
    assert np.average(new, weights=counts) == pytest.approx(1)


def test_none_is_ones():
    np.testing.assert_array_equal(class_weights("none", [0, 5], ["a", "b"]), [1, 1])


def test_numbers_by_class_leave_the_rest_at_one():
    np.testing.assert_array_equal(class_weights({"mel": 5}, ALL_IMAGES), [1, 1, 1, 1, 5, 1, 1])
    assert CLASSES[4] == "mel"


def test_unknown_class_is_named():
    with pytest.raises(UserError, match=r"melanoma.*akiec"):
        class_weights({"melanoma": 5}, ALL_IMAGES)


@pytest.mark.parametrize("kind", ["original", "new"])
def test_empty_class_is_named(kind):
    with pytest.raises(UserError, match="class b"):
        class_weights(kind, [3, 0], ["a", "b"])


@pytest.mark.parametrize("kind", ["original", "new", "effective_number"])
def test_exponent_is_a_power(kind):
    half = class_weights(kind, ALL_IMAGES, exponent=0.5)
    np.testing.assert_allclose(half**2, class_weights(kind, ALL_IMAGES))
    np.testing.assert_array_equal(class_weights(kind, ALL_IMAGES, exponent=0.0), np.ones(7))


def test_effective_number_by_hand():
    """β = ½: the effective number of one image is 1, of two 1.5, so the weights stand as 3 to 2."""
    weights = class_weights("effective_number", [1, 2], ["a", "b"], beta=0.5)
    np.testing.assert_allclose(weights, [1.2, 0.8])


def test_effective_number_between_none_and_inverse_frequency():
    none = class_weights("effective_number", ALL_IMAGES, beta=0.0)
    np.testing.assert_array_equal(none, np.ones(7))
    near_one = class_weights("effective_number", ALL_IMAGES, beta=1 - 1e-10)
    inverse = class_weights("original", ALL_IMAGES)
    np.testing.assert_allclose(near_one / near_one.sum(), inverse / inverse.sum(), rtol=1e-6)
