from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from dermlens.predict.decision import ANSWERED, STRANGE, UNSURE, WIDE, answer, answer_columns, sets_of
from dermlens.predict.document import Abstention, DecisionDocument, Ood, Rule, Scaling, Sets, plain_decision

LOGITS = arrays(np.float64, (6, 3), elements=st.floats(-20, 20))
NOTHING = np.empty((6, 0))


def decision(**parts):
    parts = {"prior": (0.7, 0.2, 0.1), "rule": Rule(offsets=(0.0, 1.0, 2.0))} | parts
    return DecisionDocument(classes=("a", "b", "c"), **parts)


@given(LOGITS)
def test_without_a_decision_it_is_softmax_and_argmax(logits_NC):
    said = answer(logits_NC, NOTHING, plain_decision(("a", "b", "c")), {})
    np.testing.assert_allclose(said.p_NC, softmax(logits_NC, axis=1), atol=1e-12)
    assert (said.diagnosis_N == said.p_NC.argmax(axis=1)).all()
    np.testing.assert_allclose(said.confidence_N, said.p_NC.max(axis=1))
    assert (said.set_NC.sum(axis=1) == 1).all()
    assert not said.abstain_N.any()
    assert said.reason_N == ("",) * 6
    assert np.isnan(said.ood_N).all()


@given(LOGITS, st.floats(-30, 30))
def test_a_constant_of_the_image_changes_nothing(logits_NC, constant):
    document = decision(sets=Sets(thresholds=(0.3, 0.2, 0.1), lesions=(9, 9, 9)))
    one, other = (answer(logits, NOTHING, document, {}) for logits in (logits_NC, logits_NC + constant))
    np.testing.assert_allclose(one.p_NC, other.p_NC, atol=1e-9)
    np.testing.assert_allclose(one.confidence_N, other.confidence_N, atol=1e-9)


@given(LOGITS, arrays(np.float64, 3, elements=st.floats(0.01, 10)))
def test_another_prior_changes_the_probabilities_alone(logits_NC, prior):
    document = decision(
        sets=Sets(thresholds=(0.3, 0.2, 0.1), lesions=(9, 9, 9)), abstention=Abstention(least_confidence=0.6)
    )
    stated, given_ = (answer(logits_NC, NOTHING, document, {}, prior=p) for p in (None, prior))
    assert (stated.diagnosis_N == given_.diagnosis_N).all()
    assert (stated.set_NC == given_.set_NC).all()
    assert stated.reason_N == given_.reason_N
    expected_NC = stated.p_NC * prior / np.array(document.prior)
    np.testing.assert_allclose(given_.p_NC, expected_NC / expected_NC.sum(axis=1, keepdims=True), atol=1e-9)


def test_by_hand():
    """p = 0.6, 0.3, 0.1; weighed 0.6, 0.3·e, 0.1·e² give 0.270, 0.367, 0.333 … of 2.155, so b is named."""
    logits_NC = np.log([[0.6, 0.3, 0.1]])
    document = decision(
        sets=Sets(thresholds=(0.5, 0.4, 0.2), lesions=(9, 9, 9)),
        abstention=Abstention(least_confidence=0.5, largest_set=1),
    )
    said = answer(logits_NC, np.empty((1, 0)), document, {})
    weights = np.array([0.6, 0.3 * np.e, 0.1 * np.e**2])
    assert said.diagnosis_N.tolist() == [1]
    assert said.confidence_N[0] == pytest.approx(weights[1] / weights.sum())
    assert said.set_NC.tolist() == [[True, True, False]]  # a by its score, b because it is named
    assert said.reason_N == (f"{UNSURE}; {WIDE}",)


def test_sets_do_not_see_the_scaling():
    """The guarantee needs scores that have not seen the truth that the scaling was fitted to."""
    logits_NC = np.random.default_rng(0).normal(size=(6, 3))
    sets = Sets(thresholds=(0.3, 0.3, 0.3), lesions=(9, 9, 9))
    rule = Rule(offsets=(0.0, 0.0, 0.0))
    plain = answer(logits_NC, NOTHING, decision(sets=sets, rule=rule), {})
    hot = answer(logits_NC, NOTHING, decision(sets=sets, rule=rule, scaling=Scaling(temperature=9.0)), {})
    assert (plain.set_NC == hot.set_NC).all()
    assert not np.allclose(plain.p_NC, hot.p_NC)


def test_strangers_are_abstained_from_and_what_is_no_number_too():
    document = decision(
        ood=Ood(kind="energy", threshold=-1.0, kept=0.95), abstention=Abstention(least_confidence=0.0)
    )
    logits_NC = np.array([[9.0, 0, 0], [-5.0, -5, -5], [np.nan, 0, 0]])
    said = answer(logits_NC, np.empty((3, 0)), document, {})
    assert said.abstain_N.tolist() == [False, True, True]
    assert said.reason_N[:2] == ("", STRANGE)
    assert STRANGE in said.reason_N[2]
    assert UNSURE in said.reason_N[2]


def test_columns_and_back():
    document = decision(sets=Sets(thresholds=(0.3, 0.2, 0.1), lesions=(9, 9, 9)))
    said = answer(np.random.default_rng(1).normal(size=(6, 3)), NOTHING, document, {})
    columns = answer_columns(said, document.classes)
    assert tuple(columns) == ANSWERED
    assert (sets_of(columns["set"], document.classes) == said.set_NC).all()
    assert set(columns["abstain"]) == {"no"}
    assert [document.classes.index(code) for code in columns["diagnosis"]] == said.diagnosis_N.tolist()


def test_inference_needs_numpy_and_pydantic_alone(loaded):
    statement = "import dermlens.predict.decision, dermlens.predict.decision, dermlens.predict.decision"
    heavy = ("torch", "pandas", "scipy", "sklearn", "matplotlib")
    assert loaded(statement, "numpy", *heavy) == {"numpy"}
