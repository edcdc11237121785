from __future__ import annotations

import pytest
from pydantic import ValidationError

from dermlens.predict.document import DecisionDocument, plain_decision

PLAIN = plain_decision(("a", "b", "c")).model_dump(mode="json")
SETS = {"thresholds": [0.1, 0.2, 0.3], "lesions": [9, 9, 9]}


def test_round_trip_as_json():
    document = DecisionDocument.model_validate(PLAIN | {"sets": SETS, "prior": [0.5, 0.25, 0.25]})
    assert DecisionDocument.model_validate_json(document.model_dump_json()) == document


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prior": [0.5, 0.5]}, "prior has 2 numbers for 3 classes"),
        ({"prior": [0.5, 0.5, 0.5]}, "does not sum to 1"),
        ({"prior": [1.0, 0.0, 0.0]}, "greater than 0"),
        ({"scaling": {"bias": [0.0]}}, r"scaling\.bias has 1"),
        ({"scaling": {"temperature": 0.0}}, "greater than 0"),
        ({"rule": {"offsets": [0.0, 0.0]}}, r"rule\.offsets has 2"),
        ({"sets": SETS | {"lesions": [9]}}, r"sets\.lesions has 1"),
        ({"sets": SETS | {"pooled": ["d"]}}, "names d"),
        ({"ood": {"kind": "knn", "threshold": 1.0, "kept": 0.9, "sha256": "0" * 64}}, "neighbours"),
        ({"ood": {"kind": "mahalanobis", "threshold": 1.0, "kept": 0.9}}, "sha256 names"),
        ({"ood": {"kind": "energy", "threshold": 1.0, "kept": 0.9, "sha256": "0" * 64}}, "sha256 names"),
        ({"rule": {"offsets": [0.0, 0.0, float("nan")]}}, "finite"),
    ],
)
def test_what_does_not_fit_is_refused(change, sentence):
    with pytest.raises(ValidationError, match=sentence):
        DecisionDocument.model_validate(PLAIN | change)
