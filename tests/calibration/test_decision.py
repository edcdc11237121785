from __future__ import annotations

import numpy as np
import pytest
from decisions import CLASSES, PRIOR

from dermlens.calibration.decision import fit_decision
from dermlens.calibration.labelled import Labelled
from dermlens.errors import UserError
from dermlens.evaluation.measures import ece
from dermlens.predict.decision import answer, arrays_sha256
from dermlens.predict.document import DecisionDocument


def balanced(role):
    """As a network trained for equal shares and too sure of itself would have it."""
    return Labelled(2 * (role.logits_NC - np.log(PRIOR)), role.features_ND, role.target_N, role.lesion_N)


@pytest.fixture(scope="module")
def fitted(world):
    roles = {name: balanced(world(900, seed=seed)) for seed, name in enumerate(("selection", "calibration"))}
    return fit_decision(CLASSES, train=balanced(world(3000, seed=10)), ood="mahalanobis", **roles)


def test_it_is_a_document_that_survives_json(fitted):
    document, arrays = fitted
    assert DecisionDocument.model_validate_json(document.model_dump_json()) == document
    assert document.ood.sha256 == arrays_sha256(arrays)
    np.testing.assert_allclose(document.prior, PRIOR, atol=0.03)


def test_on_new_images_it_holds_what_it_says(fitted, world):
    document, arrays = fitted
    new = balanced(world(6000, seed=20))
    said = answer(new.logits_NC, new.features_ND, document, arrays)
    before_NC = np.exp(new.logits_NC - np.logaddexp.reduce(new.logits_NC, axis=1)[:, None])
    assert ece(new.target_N, said.p_NC) < 0.03 < ece(new.target_N, before_NC)
    np.testing.assert_allclose(
        said.p_NC.mean(axis=0), np.bincount(new.target_N, minlength=7) / len(new.target_N), atol=0.02
    )
    recall = [(said.diagnosis_N[new.target_N == c] == c).mean() for c in range(7)]
    argmax = [(said.p_NC.argmax(axis=1)[new.target_N == c] == c).mean() for c in range(7)]
    assert np.mean(recall) > np.mean(argmax) + 0.02
    covered_N = said.set_NC[np.arange(len(new.target_N)), new.target_N]
    assert covered_N[new.target_N == 5].mean() > 0.86
    sure, unsure = (said.diagnosis_N == new.target_N)[~said.abstain_N], said.abstain_N
    assert 0.05 < unsure.mean() < 0.3
    assert sure.mean() > (said.diagnosis_N == new.target_N)[unsure].mean() + 0.1


def test_the_same_twice(fitted, world):
    roles = {name: balanced(world(900, seed=seed)) for seed, name in enumerate(("selection", "calibration"))}
    again, arrays = fit_decision(CLASSES, train=balanced(world(3000, seed=10)), ood="mahalanobis", **roles)
    assert again == fitted[0]
    assert all(np.array_equal(arrays[name], fitted[1][name]) for name in arrays)


def test_a_class_that_nothing_was_trained_on(world):
    role = world(200)
    kept = role.target_N != 3
    parts = (role.logits_NC, role.features_ND, role.target_N, role.lesion_N)
    without = Labelled(*(part[kept] for part in parts))
    with pytest.raises(UserError, match="no training image is of class df"):
        fit_decision(CLASSES, train=without, selection=role, calibration=role)
