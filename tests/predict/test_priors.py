from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.errors import UserError
from dermlens.labels import CLASSES
from dermlens.predict.priors import ClassPrior, default_prior, named_prior, parse_prior, read_prior

SHARES = st.lists(st.floats(1e-6, 1e6), min_size=7, max_size=7)


def test_the_specialist_mix_is_that_of_the_lesions_that_histology_confirmed():
    """nv 44, mel 20, bkl 16, bcc 11, akiec 7, vasc 1, df 1 of a hundred."""
    found = dict(zip(CLASSES, named_prior("specialist", CLASSES).shares, strict=True))
    expected = {"nv": 44, "mel": 20, "bkl": 16, "bcc": 11, "akiec": 7, "vasc": 1, "df": 1}
    assert {code: round(100 * share) for code, share in found.items()} == expected


def test_a_name_is_read_in_any_order_of_the_classes():
    turned = tuple(reversed(CLASSES))
    expected = tuple(reversed(named_prior("ham10000", CLASSES).shares))
    assert named_prior("ham10000", turned).shares == pytest.approx(expected)


def test_own_classes_hold_at_equal_shares():
    assert default_prior(("x", "y")) == ClassPrior(name="equal", shares=(0.5, 0.5))
    assert default_prior(CLASSES).name == "specialist"
    with pytest.raises(UserError, match=r"specialist.*akiec, bcc"):
        named_prior("specialist", ("x", "y"))


@given(SHARES)
def test_a_list_and_pairs_say_the_same_and_sum_to_one(shares):
    listed = parse_prior(",".join(map(repr, shares)), CLASSES)
    pairs = [f"{code}={share!r}" for code, share in zip(CLASSES, shares, strict=True)]
    assert parse_prior(", ".join(reversed(pairs)), CLASSES) == listed
    assert sum(listed.shares) == pytest.approx(1)
    assert read_prior(listed.shares, CLASSES, "").shares == pytest.approx(listed.shares)


def test_a_share_that_is_nothing_beside_the_others_stays_above_zero():
    shares = read_prior([5e-324, *[1e308] * 6], CLASSES, "").shares
    assert min(shares) > 0
    assert sum(shares) == pytest.approx(1)
