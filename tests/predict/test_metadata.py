"""Every encoder keeps to one contract; the published one is Keras's, the default one drops no patient."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens.errors import UserError
from dermlens.predict.metadata import (
    ENCODERS,
    PAPER_SEXES,
    PAPER_SITES,
    MetadataEncoder,
    encoder_from_json,
    make_encoder,
)

SEXES = ("female", "male", "unknown", "", None, "other")
SITES = (
    "back",
    "acral",
    "anterior torso",
    "lateral torso",
    "unknown",
    "",
    None,
    "elsewhere",
    "Lower  Extremity",
)
ages = st.none() | st.just(math.nan) | st.floats(0, 120)
patients = st.lists(st.tuples(ages, st.sampled_from(SEXES), st.sampled_from(SITES)), min_size=1, max_size=20)

every_encoder = pytest.mark.parametrize("kind", sorted(ENCODERS))


def fitted(kind: str) -> MetadataEncoder:
    return make_encoder(kind).fit([20, 35.5, None, 80], ["male"] * 4, ["back"] * 4)


def columns(rows: list[tuple[float | None, str | None, str | None]]) -> list[list]:
    return [list(column) for column in zip(*rows, strict=True)]


@every_encoder
@settings(deadline=None)
@given(rows=patients)
def test_contract_of_every_encoder(kind: str, rows: list) -> None:
    encoder = make_encoder(kind).fit(*columns(rows))
    meta_NM = encoder.encode(*columns(rows))
    assert meta_NM.dtype == np.float32
    assert meta_NM.shape == (len(rows), encoder.width) == (len(rows), len(encoder.names))
    assert len(set(encoder.names)) == encoder.width
    assert np.isfinite(meta_NM).all()
    one_by_one = [encoder.encode([age], [sex], [site]) for age, sex, site in rows]
    np.testing.assert_array_equal(meta_NM, np.concatenate(one_by_one))


@every_encoder
@settings(deadline=None)
@given(rows=patients)
def test_json_round_trip_is_exact(kind: str, rows: list) -> None:
    encoder = make_encoder(kind).fit(*columns(rows))
    again = encoder_from_json(json.loads(json.dumps(encoder.to_json(), allow_nan=False)))
    assert again == encoder
    assert type(again) is type(encoder)
    np.testing.assert_array_equal(again.encode(*columns(rows)), encoder.encode(*columns(rows)))


@every_encoder
def test_an_unseen_word_is_no_known_word(kind: str) -> None:
    """Two unseen words are the same to an encoder, and neither looks like a sex or site that it knows."""
    encoder = fitted(kind)
    if not encoder.width:
        return
    np.testing.assert_array_equal(
        encoder.encode([50], ["x"], ["elsewhere"]), encoder.encode([50], ["y"], ["nowhere"])
    )
    unseen_M = encoder.encode([50], ["x"], ["elsewhere"])[0]
    for sex in ("female", "male"):
        assert not np.array_equal(encoder.encode([50], [sex], ["elsewhere"])[0], unseen_M)
    for site in ("back", "face", "lower extremity"):
        assert not np.array_equal(encoder.encode([50], ["x"], [site])[0], unseen_M)


@every_encoder
@pytest.mark.parametrize("age", [-3, 400, math.inf, -math.inf, 120.5, "old"])
def test_an_impossible_age_is_refused(kind: str, age: float) -> None:
    with pytest.raises(UserError, match=rf"age is {age}.*0 to 120"):
        fitted(kind).encode([age], ["male"], ["back"])


@every_encoder
@pytest.mark.parametrize("missing", [None, math.nan])
def test_a_missing_age_is_encoded(kind: str, missing: float | None) -> None:
    meta_M = fitted(kind).encode([missing], ["male"], ["back"])[0]
    if "age_z" in fitted(kind).names:
        assert meta_M[fitted(kind).names.index("age_z")] == 0


@every_encoder
def test_columns_of_unequal_length_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match="shorter"):
        fitted(kind).encode([50, 60], ["male"], ["back", "back"])


@pytest.mark.parametrize("kind", ["paper", "default"])
def test_an_unfitted_encoder_does_not_encode(kind: str) -> None:
    with pytest.raises(ValueError, match="training role"):
        make_encoder(kind).encode([50], ["male"], ["back"])


@pytest.mark.parametrize("kind", ["paper", "default"])
def test_age_is_normalised_as_keras_does(kind: str) -> None:
    """Keras documents of `Normalization` that adapted to 1 … 5, it maps 1, 2, 3 to these."""
    encoder = make_encoder(kind).fit([1, 2, 3, 4, 5], ["male"] * 5, ["back"] * 5)
    z_N = encoder.encode([1, 2, 3], ["male"] * 3, ["back"] * 3)[:, 0]
    np.testing.assert_allclose(z_N, [-1.4142135, -0.70710677, 0.0], rtol=1e-6)


def test_missing_ages_do_not_move_the_statistics() -> None:
    known = make_encoder("paper").fit([10, 20], ["male"] * 2, ["back"] * 2)
    gaps = make_encoder("paper").fit([10, None, math.nan, 20], ["male"] * 4, ["back"] * 4)
    assert gaps == known
    assert known.age_std == 5.0


@pytest.mark.parametrize("known", [[], [None, math.nan], [50, 50.0, None]])
def test_an_age_of_which_nothing_was_learnt_counts_as_missing(known: list) -> None:
    encoder = make_encoder("default").fit(known, ["male"] * len(known), ["back"] * len(known))
    np.testing.assert_array_equal(
        encoder.encode([80], ["male"], ["back"]), encoder.encode([None], ["male"], ["back"])
    )


def test_the_published_vector() -> None:
    """The authors' vector: age, sex (out of vocabulary, 3 words), localization (the same, 15 words): 21."""
    encoder = make_encoder("paper")
    assert encoder.width == 21
    assert list(PAPER_SITES) == sorted(PAPER_SITES)
    assert len(PAPER_SITES) == 15
    encoder = encoder.fit([40, 60], ["male"] * 2, ["back"] * 2)
    meta_NM = encoder.encode([70, 50], ["male", "unknown"], ["abdomen", "upper extremity"])
    expected_NM = np.zeros((2, 21))
    expected_NM[0, [0, 3, 6]] = 2, 1, 1
    expected_NM[1, [4, 20]] = 1
    np.testing.assert_array_equal(meta_NM, expected_NM)


@pytest.mark.parametrize(
    ("at", "words"), [(1, ("?", *PAPER_SEXES)), (5, ("?", *PAPER_SITES))], ids=["sex", "localization"]
)
def test_words_are_looked_up_as_keras_does(at: int, words: tuple[str, ...]) -> None:
    """`StringLookup` of Keras, one-hot: slot 0 is out of vocabulary, word k of the list is slot k + 1."""
    both = {"sex": ["male"] * len(words), "site": ["back"] * len(words)}
    both["sex" if at == 1 else "site"] = list(words)
    meta_NM = fitted("paper").encode([50] * len(words), **both)
    np.testing.assert_array_equal(meta_NM[:, at : at + len(words)], np.eye(len(words)))


def test_missing_words_are_unknown_to_the_published_encoder() -> None:
    encoder = fitted("paper")
    np.testing.assert_array_equal(
        encoder.encode([50], [None], [""]), encoder.encode([50], ["unknown"], ["unknown"])
    )


@pytest.mark.parametrize("unseen", ["elsewhere", "", "unknown", None])
def test_unseen_counts_as_missing_by_default(unseen: str | None) -> None:
    encoder = fitted("default")
    meta = dict(zip(encoder.names, encoder.encode([50], [unseen], [unseen])[0], strict=True))
    assert {name for name, value in meta.items() if value == 1} == {"sex_missing", "site_missing"}


@settings(deadline=None)
@given(rows=patients)
def test_default_has_one_sex_and_one_site_and_flags_what_is_missing(rows: list) -> None:
    encoder = fitted("default")
    meta = dict(zip(encoder.names, encoder.encode(*columns(rows)).T, strict=True))
    for group in ("sex_", "site_"):
        total_N = sum(value_N for name, value_N in meta.items() if name.startswith(group))
        np.testing.assert_array_equal(total_N, 1)
    missing_N = [age is None or math.isnan(age) for age, _, _ in rows]
    np.testing.assert_array_equal(meta["age_missing"], missing_N)


def test_default_sees_one_site_in_two_vocabularies() -> None:
    encoder = fitted("default")
    ham = encoder.encode([50] * 3, ["male"] * 3, ["back", "genital", "scalp"])
    isic = encoder.encode([50] * 3, ["male"] * 3, ["posterior torso", "oral/genital", "Head/Neck"])
    np.testing.assert_array_equal(ham, isic)


def test_no_metadata_has_no_columns() -> None:
    assert make_encoder("none").encode([50, None], ["male", None], ["back", None]).shape == (2, 0)


def test_an_unknown_encoder_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'papers'.*nearest: paper"):
        make_encoder("papers")


def test_saved_encoders_are_checked() -> None:
    saved = fitted("default").to_json()
    with pytest.raises(UserError, match="other features"):
        encoder_from_json(saved | {"names": saved["names"][::-1]})
    del saved["age_std"]
    with pytest.raises(UserError, match="lacks 'age_std'"):
        encoder_from_json(saved)


@every_encoder
@settings(deadline=None)
@given(rows=patients)
def test_fields_are_the_columns_that_one_answer_moves(kind: str, rows: list) -> None:
    """They part the features, and what is missing is put in by field as the encoder itself would have it."""
    encoder = fitted(kind)
    fields = encoder.fields
    assert list(fields) == ["age", "sex", "site"]
    assert sorted(column for field in fields for column in fields[field]) == list(range(encoder.width))
    meta_NM = encoder.encode(*columns(rows))
    for place, field in enumerate(fields):
        without = [[None if i == place else value for i, value in enumerate(row)] for row in rows]
        blanked_NM = meta_NM.copy()
        blanked_NM[:, fields[field]] = encoder.missing[fields[field]]
        np.testing.assert_array_equal(encoder.encode(*columns(without)), blanked_NM)
