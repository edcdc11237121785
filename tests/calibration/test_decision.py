from __future__ import annotations

import numpy as np
import pytest
from decisions import CLASSES, PRIOR

from dermlens.calibration.decision import fit_decision
from dermlens.calibration.probabilities import Labelled
from dermlens.errors import UserError
from dermlens.evaluation.calibration import ece
from dermlens.labels import Vocabulary
from dermlens.predict.decision import answer, arrays_sha256
from dermlens.predict.decision_document import DecisionDocument
from dermlens.predict.priors import ClassPrior, named_prior


def balanced(role):
    """As a network trained for equal shares and too sure of itself would have it."""
    return Labelled(2 * (role.logits_NC - np.log(PRIOR)), role.features_ND, role.target_N, role.lesion_N)


@pytest.fixture(scope="module")
def fitted(world):
    calibration = balanced(world(900, seed=1))
    train = balanced(world(3000, seed=10))
    return fit_decision(Vocabulary(CLASSES), train=train, calibration=calibration, ood="mahalanobis")


def test_it_is_a_document_that_survives_json(fitted):
    document, arrays = fitted
    assert DecisionDocument.model_validate_json(document.model_dump_json()) == document
    assert document.ood.sha256 == arrays_sha256(arrays)
    assert document.prior == document.suspicion.reference == named_prior("specialist", CLASSES)
    assert document.suspicion.malignant == ("bcc", "mel")
    assert document.suspicion.premalignant == ("akiec",)


def test_on_new_images_it_holds_what_it_says(fitted, world):
    """In the mix that the images are of, probabilities come true; at equal shares mean recall is highest."""
    document, arrays = fitted
    new = balanced(world(6000, seed=20))
    mixes = {
        "here": ClassPrior(name="here", shares=tuple(PRIOR / PRIOR.sum())),
        "equal": named_prior("equal", CLASSES),
    }
    here, equal = (answer(new.logits_NC, new.features_ND, document, arrays, mix) for mix in mixes.values())
    before_NC = np.exp(new.logits_NC - np.logaddexp.reduce(new.logits_NC, axis=1)[:, None])
    assert ece(new.target_N, here.p_NC) < 0.05 < ece(new.target_N, before_NC)
    share_C = np.bincount(new.target_N, minlength=7) / len(new.target_N)
    np.testing.assert_allclose(here.p_NC.mean(axis=0), share_C, atol=0.03)
    recall = {
        name: np.mean([(output.diagnosis_N[new.target_N == c] == c).mean() for c in range(7)])
        for name, output in (("here", here), ("equal", equal))
    }
    assert recall["equal"] > recall["here"] + 0.02
    np.testing.assert_array_equal(here.flagged_N, equal.flagged_N)
    assert here.flagged_N[np.isin(new.target_N, [1, 4])].mean() > 0.92
    own = answer(new.logits_NC, new.features_ND, document, arrays)
    covered_N = own.set_NC[np.arange(len(new.target_N)), new.target_N]
    for index in range(7):
        assert covered_N[new.target_N == index].mean() > 0.8
    right_N = own.diagnosis_N == new.target_N
    assert 0.03 < own.uncertain_N.mean() < 0.5
    assert right_N[~own.uncertain_N].mean() > right_N[own.uncertain_N].mean() + 0.1


def test_the_same_twice(fitted, world):
    again, arrays = fit_decision(
        Vocabulary(CLASSES),
        train=balanced(world(3000, seed=10)),
        calibration=balanced(world(900, seed=1)),
        ood="mahalanobis",
    )
    assert again == fitted[0]
    assert all(np.array_equal(arrays[name], fitted[1][name]) for name in arrays)


def test_a_class_that_nothing_can_be_fitted_on(world):
    role = world(200)
    kept = role.target_N != 3
    parts = (role.logits_NC, role.features_ND, role.target_N, role.lesion_N)
    without = Labelled(*(part[kept] for part in parts))
    with pytest.raises(UserError, match="class df"):
        fit_decision(Vocabulary(CLASSES), calibration=without)


def test_own_classes_hold_at_equal_shares_and_are_flagged_where_they_say_what_is_malignant(world):
    role = world(900, seed=1)
    names = tuple(f"x{number}" for number in range(7))
    plain, _ = fit_decision(Vocabulary(names), calibration=role)
    assert (plain.prior.name, plain.suspicion) == ("equal", None)
    document, _ = fit_decision(Vocabulary(names, {"x5": {"malignant": True}}), calibration=role)
    assert document.suspicion.malignant == ("x5",)
    assert [mark.catches for mark in document.suspicion.marks] == [0.9, 0.95]
