from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from dermlens.errors import UserError
from dermlens.labels import Vocabulary
from dermlens.predict.answers import one_answer
from dermlens.predict.decision import (
    ANSWERED,
    OUT_OF_DISTRIBUTION,
    UNSURE,
    WIDE,
    answer,
    answer_columns,
    at_equal,
    decide,
    scaled,
    sets_of,
    unscaled,
)
from dermlens.predict.decision_document import (
    Abstention,
    DecisionDocument,
    Mark,
    Ood,
    Scaling,
    Sets,
    Suspicion,
    plain_decision,
)
from dermlens.predict.priors import ClassPrior, named_prior, read_prior

CLASSES = ("a", "b", "c", "mel")
LOGITS = arrays(np.float64, (5, 4), elements=st.floats(-20, 20))
PRIORS = arrays(np.float64, 4, elements=st.floats(0.001, 10)).map(
    lambda shares: read_prior(shares, CLASSES, "")
)
THRESHOLDS = arrays(np.float64, 4, elements=st.floats(0, 1))
NOTHING = np.empty((5, 0))
EQUAL = named_prior("equal", CLASSES)


def decision(**parts):
    suspicion = Suspicion(
        malignant=("b", "mel"), reference=EQUAL, marks=(Mark(catches=0.95, threshold=0.4, source="all"),)
    )
    prior = ClassPrior(name="clinic", shares=(0.6, 0.2, 0.1, 0.1))
    return DecisionDocument(**({"classes": CLASSES, "prior": prior, "suspicion": suspicion} | parts))


@given(LOGITS, PRIORS, THRESHOLDS)
def test_one_answer_holds_together_in_every_case_mix(logits_NC, prior, thresholds):
    document = decision(
        scaling=Scaling(temperature=1.7, bias=(0.3, -0.2, 0.0, 0.5)),
        sets=Sets(thresholds=tuple(thresholds), lesions=(9,) * 4),
    )
    own, other = (answer(logits_NC, NOTHING, document, {}, mix) for mix in (None, prior))
    for output in (own, other):
        np.testing.assert_allclose(output.p_NC.sum(axis=1), 1)
        rows = np.arange(5)
        assert (output.p_NC[rows, output.diagnosis_N] == output.p_NC.max(axis=1)).all()
        assert (output.confidence_N == output.p_NC.max(axis=1)).all()
        assert output.set_NC[rows, output.diagnosis_N].all()
        for p_C, inside_C in zip(output.p_NC, output.set_NC, strict=True):
            assert not (p_C[~inside_C] > p_C[inside_C].min()).any(), "no more probable class is skipped"
    np.testing.assert_array_equal(own.suspicion_N, other.suspicion_N)
    np.testing.assert_array_equal(own.melanoma_N, other.melanoma_N)
    np.testing.assert_array_equal(own.flagged_N, other.flagged_N)
    reference_NC = softmax(scaled(logits_NC, document.scaling), axis=1)
    np.testing.assert_allclose(own.suspicion_N, reference_NC[:, 1] + reference_NC[:, 3], atol=1e-12)


@given(LOGITS, PRIORS)
def test_a_case_mix_is_bayes_rule(logits_NC, prior):
    document = decision()
    own, other = (answer(logits_NC, NOTHING, document, {}, mix).p_NC for mix in (None, prior))
    expected_NC = own * np.array(prior.shares) / np.array(document.prior.shares)
    np.testing.assert_allclose(other, expected_NC / expected_NC.sum(axis=1, keepdims=True), atol=1e-9)
    np.testing.assert_allclose(at_equal(other, prior), at_equal(own, document.prior), atol=1e-6)


@given(LOGITS)
def test_without_calibration_it_is_softmax_and_argmax(logits_NC):
    output = answer(logits_NC, NOTHING, plain_decision(CLASSES), {})
    np.testing.assert_allclose(output.p_NC, softmax(logits_NC, axis=1), atol=1e-12)
    assert (output.diagnosis_N == output.p_NC.argmax(axis=1)).all()
    assert output.flagged_N is None
    assert not output.uncertain_N.any()
    assert output.reason_N == ("",) * 5
    assert np.isnan(output.ood_N).all()
    assert np.isnan(output.suspicion_N).all()
    with pytest.raises(UserError, match="calibrated"):
        answer(logits_NC, NOTHING, plain_decision(CLASSES), {}, EQUAL)


@given(LOGITS, st.floats(-30, 30))
def test_a_constant_of_the_image_changes_nothing(logits_NC, constant):
    one, other = (answer(logits, NOTHING, decision(), {}) for logits in (logits_NC, logits_NC + constant))
    np.testing.assert_allclose(one.p_NC, other.p_NC, atol=1e-9)
    np.testing.assert_allclose(one.suspicion_N, other.suspicion_N, atol=1e-9)


def test_by_hand():
    """Scores 0.1, 0.2, 0.3, 0.4 at equal shares; times 0.6, 0.2, 0.1, 0.1 they are 6, 4, 3, 4 of 17."""
    document = decision(
        sets=Sets(thresholds=(1.0, 1.0, 0.29, 1.0), lesions=(9,) * 4),
        abstention=Abstention(least_confidence=0.5, largest_set=3),
    )
    output = answer(np.log([[0.1, 0.2, 0.3, 0.4]]), np.empty((1, 0)), document, {})
    np.testing.assert_allclose(output.p_NC, [[6 / 17, 4 / 17, 3 / 17, 4 / 17]])
    assert output.diagnosis_N.tolist() == [0]
    assert output.set_NC.all(), "c reaches its threshold, and all others are more probable"
    assert output.suspicion_N.tolist() == pytest.approx([0.6])
    assert output.melanoma_N.tolist() == pytest.approx([0.4])
    assert output.flagged_N.tolist() == [True]
    assert output.reason_N == (f"{UNSURE}; {WIDE}",)


@given(LOGITS)
def test_scaling_is_taken_back(logits_NC):
    for scale in (None, (1.0, 2.0, 0.5, 1.5)):
        scaling = Scaling(temperature=0.7, scale=scale, bias=(1.0, 0.0, -1.0, 0.5))
        back_NC = unscaled(scaled(logits_NC, scaling), scaling)
        if scale is None:
            np.testing.assert_allclose(softmax(back_NC, axis=1), softmax(logits_NC, axis=1), atol=1e-9)


def test_sets_of_0_1_keep_the_score_they_were_fitted_on():
    logits_NC = np.random.default_rng(0).normal(size=(5, 4))
    sets = Sets(thresholds=(0.25,) * 4, score="unscaled", lesions=(9,) * 4)
    scaling = Scaling(temperature=3.0, bias=(0.5, 0.0, 0.0, 0.0))
    output = answer(logits_NC, NOTHING, decision(sets=sets, scaling=scaling), {})
    reached = softmax(logits_NC, axis=1) >= 0.25
    assert (output.set_NC | ~reached).all()


def test_out_of_distribution_and_not_a_number_are_uncertain():
    document = decision(
        ood=Ood(kind="energy", threshold=-1.0, kept=0.95), abstention=Abstention(least_confidence=0.0)
    )
    logits_NC = np.array([[9.0, 0, 0, 0], [-5.0, -5, -5, -5], [np.nan, 0, 0, 0]])
    output = answer(logits_NC, np.empty((3, 0)), document, {})
    assert output.uncertain_N.tolist() == [False, True, True]
    assert output.reason_N[:2] == ("", OUT_OF_DISTRIBUTION)
    assert OUT_OF_DISTRIBUTION in output.reason_N[2]
    assert UNSURE in output.reason_N[2]
    assert output.flagged_N[2], "what is no number is not passed over"


def test_columns_and_back():
    document = decision(sets=Sets(thresholds=(0.3, 0.2, 0.1, 0.2), lesions=(9,) * 4))
    output = answer(np.random.default_rng(1).normal(size=(5, 4)), NOTHING, document, {})
    columns = answer_columns(output, document.classes)
    assert tuple(columns) == ANSWERED
    assert (sets_of(columns["set"], document.classes) == output.set_NC).all()
    assert set(columns["uncertain"]) == {"no"}
    assert columns["flagged"] == ["yes" if held else "no" for held in output.flagged_N]
    assert [document.classes.index(code) for code in columns["diagnosis"]] == output.diagnosis_N.tolist()
    again = decide(at_equal(output.p_NC, document.prior), output.ood_N, document)
    np.testing.assert_allclose(again.suspicion_N, output.suspicion_N, atol=1e-12)


def test_inference_needs_numpy_and_pydantic_alone(loaded):
    heavy = ("torch", "pandas", "scipy", "sklearn", "matplotlib")
    assert loaded("import dermlens.predict.decision", "numpy", *heavy) == {"numpy"}


@given(st.floats(0.02, 0.98), st.floats(1e-9, 1e-3) | st.floats(-1e-3, -1e-9))
def test_what_is_shown_of_a_suspicion_is_on_the_side_of_the_mark_that_the_flag_says(mark, distance):
    """Rounded to one place, 4.96 % would seem to reach a mark of 4.97 %, and not be flagged."""
    document = DecisionDocument(
        classes=("a", "mel"),
        prior=named_prior("equal", ("a", "mel")),
        suspicion=Suspicion(
            malignant=("mel",),
            reference=named_prior("equal", ("a", "mel")),
            marks=(Mark(catches=0.95, threshold=mark, source="all"),),
        ),
    )
    score_1C = np.log([[1 - mark - distance, mark + distance]])
    found = decide(score_1C, np.array([np.nan]), document)
    one = one_answer(found, 0, document, Vocabulary(document.classes), score_C=score_1C[0])
    (sentence,) = (line for line in one.sentences if "lagged" in line)
    suspicion, melanoma, shown = (float(number) for number in re.findall(r"([\d.]+) %", sentence)[:3])
    assert (suspicion >= shown) == one.flagged
    assert melanoma == suspicion
