from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from scipy.special import softmax

from dermlens.labels import CLASSES
from dermlens.predict.decision import answer
from dermlens.predict.decision_document import DecisionDocument, plain_decision
from dermlens.predict.document import updated
from dermlens.predict.priors import ClassPrior

PLAIN = plain_decision(("a", "b", "c")).model_dump(mode="json")
THIRDS = {"name": "equal", "shares": [1 / 3] * 3}
SETS = {"thresholds": [0.1, 0.2, 0.3], "lesions": [9, 9, 9]}


def test_round_trip_as_json():
    document = DecisionDocument.model_validate(
        PLAIN | {"sets": SETS, "prior": {"name": "clinic", "shares": [0.5, 0.25, 0.25]}}
    )
    assert DecisionDocument.model_validate_json(document.model_dump_json()) == document


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prior": {"name": "x", "shares": [0.5, 0.5]}}, "prior .*2 .*3 classes"),
        ({"prior": {"name": "x", "shares": [0.5, 0.5, 0.5]}}, "does not sum to 1"),
        ({"prior": {"name": "x", "shares": [1.0, 0.0, 0.0]}}, "greater than 0"),
        ({"scaling": {"bias": [0.0]}}, r"scaling\.bias has 1"),
        ({"scaling": {"temperature": 0.0}}, "greater than 0"),
        ({"suspicion": {"malignant": ["d"], "reference": THIRDS}}, "suspicion names d"),
        ({"sets": SETS | {"lesions": [9]}}, r"sets\.lesions has 1"),
        ({"sets": SETS | {"pooled": ["d"]}}, "names d"),
        ({"ood": {"kind": "knn", "threshold": 1.0, "kept": 0.9, "sha256": "0" * 64}}, "neighbours"),
        ({"ood": {"kind": "mahalanobis", "threshold": 1.0, "kept": 0.9}}, "sha256 names"),
        ({"ood": {"kind": "energy", "threshold": 1.0, "kept": 0.9, "sha256": "0" * 64}}, "sha256 names"),
        ({"scaling": {"bias": [0.0, 0.0, float("nan")]}}, "finite"),
    ],
)
def test_what_does_not_fit_is_refused(change, sentence):
    with pytest.raises(ValidationError, match=sentence):
        DecisionDocument.model_validate(PLAIN | change)


def of_0_1(old):
    return updated({"format": "dermlens model 1", "classes": old["classes"], "decision": old})["decision"]


@given(arrays(np.float64, (4, 7), elements=st.floats(-10, 10)))
def test_a_decision_of_0_1_is_read_as_its_scaling_at_equal_shares(logits_NC):
    """Shown at the shares that it was calibrated for, it says what it said; the rule is gone."""
    prior_C = np.array([0.05, 0.07, 0.12, 0.03, 0.13, 0.56, 0.04])
    bias_C = np.array([0.7, 1.1, -0.9, -0.8, -0.1, 1.3, -1.3])
    old = {
        "classes": list(CLASSES),
        "prior": prior_C.tolist(),
        "scaling": {
            "temperature": 0.88,
            "scale": None,
            "bias": bias_C.tolist(),
            "cross_validated": {"bias": 0.4},
        },
        "rule": {"kind": "per_class", "offsets": [2.9, 2.5, 1.9, 3.8, 1.9, 0.3, 3.6], "tau": None},
        "sets": {"alpha": 0.1, "thresholds": [0.1] * 7, "lesions": [9] * 7, "pooled": [], "pool": []},
        "ood": {"kind": "energy", "threshold": -2.3, "kept": 0.95},
        "abstention": {"least_confidence": 0.47, "largest_set": 3},
    }
    found = DecisionDocument.model_validate(of_0_1(old))
    own = ClassPrior(name="own", shares=tuple(prior_C))
    output = answer(logits_NC, np.empty((4, 0)), found, {}, own)
    np.testing.assert_allclose(output.p_NC, softmax(logits_NC / 0.88 + bias_C, axis=1), atol=1e-12)
    assert (output.diagnosis_N == output.p_NC.argmax(axis=1)).all()
    assert (output.set_NC | (softmax(logits_NC, axis=1) < 0.1)).all(), (
        "sets keep the score they were fitted on"
    )
    assert found.prior.name == "specialist"
    assert found.suspicion.marks == ()
    assert output.flagged_N is None


def test_one_that_nobody_calibrated_stays_so():
    old = {"classes": ["a", "b"], "scaling": {"temperature": 2.0}, "rule": {"offsets": [0.0, 0.0]}}
    assert DecisionDocument.model_validate(of_0_1(old)) == plain_decision(("a", "b"), 2.0)
