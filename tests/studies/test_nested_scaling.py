from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from dermlens.evaluation.calibration import ece
from dermlens.metrics import balanced_accuracy_isic
from dermlens.predict.decision import answer
from dermlens.predict.decision_document import DecisionDocument
from dermlens.predict.priors import named_prior
from dermlens.studies.scores import nested

PRIOR = np.array([0.7, 0.2, 0.1])


def draw(seed=0, lesions=300, sharpness=1.0):
    """Logits that are calibrated at sharpness 1: target ~ softmax(logits)."""
    rng = np.random.default_rng(seed)
    lesion_N = np.repeat(np.arange(lesions), 2)
    logits_NC = np.log(PRIOR) + rng.normal(size=(lesions, 3))[lesion_N] * 1.3
    p_NC = softmax(logits_NC, axis=1)
    target_N = np.array([rng.choice(3, p=row) for row in p_NC[::2]])[lesion_N]
    return target_N, softmax(sharpness * logits_NC, axis=1), lesion_N.astype(str), lesion_N % 3


def test_a_fold_is_judged_as_a_model_with_the_others_decision_would_answer():
    """Another path through the code: the one by which predictions are answered."""
    target_N, p_NC, lesion_N, fold_N = draw()
    found = nested(target_N, p_NC, lesion_N, fold_N)
    equal = named_prior("equal", ("a", "b", "c"))
    for fold, scaling in found.fitted.items():
        inside = fold_N == fold
        document = DecisionDocument(classes=("a", "b", "c"), scaling=scaling, prior=equal)
        output = answer(np.log(p_NC[inside]), np.empty((inside.sum(), 0)), document, {})
        np.testing.assert_allclose(found.p_NC[inside], output.p_NC, rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(fold=st.integers(0, 2), seed=st.integers(0, 2**16))
def test_no_fold_knows_its_own_truth(fold, seed):
    target_N, p_NC, lesion_N, fold_N = draw(lesions=60)
    inside = fold_N == fold
    other_N = target_N.copy()
    other_N[inside] = np.random.default_rng(seed).permutation(target_N[inside])
    first = nested(target_N, p_NC, lesion_N, fold_N)
    again = nested(other_N, p_NC, lesion_N, fold_N)
    np.testing.assert_array_equal(first.p_NC[inside], again.p_NC[inside])


def test_overconfidence_is_taken_back_and_mean_recall_gained():
    target_N, p_NC, lesion_N, fold_N = draw(lesions=900, sharpness=3.0)
    found = nested(target_N, p_NC, lesion_N, fold_N)
    weight_N = 1 / np.bincount(target_N)[target_N]
    assert ece(target_N, found.p_NC, weight_N) < ece(target_N, p_NC, weight_N) / 3
    gained = balanced_accuracy_isic(target_N, found.p_NC) - balanced_accuracy_isic(target_N, p_NC)
    assert gained > 0.01


def test_what_a_loss_did_to_the_prior_makes_no_difference():
    """What balanced softmax does to probabilities is undone by the biases, up to what was fitted."""
    target_N, p_NC, lesion_N, fold_N = draw(lesions=900)
    even_NC = softmax(np.log(p_NC) - np.log(PRIOR), axis=1)
    plain = nested(target_N, p_NC, lesion_N, fold_N)
    even = nested(target_N, even_NC, lesion_N, fold_N)
    np.testing.assert_allclose(log_softmax(np.log(even.p_NC), axis=1), np.log(plain.p_NC), atol=0.02)


def test_a_class_that_the_others_lack_cannot_be_taught():
    target_N, p_NC, lesion_N, fold_N = draw(lesions=60)
    assert nested(target_N, p_NC, lesion_N, np.where(target_N == 2, 0, 1 + fold_N)) is None
