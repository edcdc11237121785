"""Marks of suspicion: the lowest of the sources' own, each what conformal bounds say it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.calibration.abstention import fit_marks
from dermlens.evaluation.detection import ppv
from dermlens.labels import CLASSES
from dermlens.predict.decision_document import Suspicion
from dermlens.predict.priors import default_prior

SUSPICION = Suspicion(malignant=("bcc", "mel"), premalignant=("akiec",), reference=default_prior(CLASSES))
MEL, NV, AKIEC = (CLASSES.index(code) for code in ("mel", "nv", "akiec"))


def marks_of(score_N, target_N, source_N, lesion_N=None):
    lesion_N = np.arange(len(score_N)).astype(str) if lesion_N is None else lesion_N
    return fit_marks(SUSPICION, score_N, target_N, lesion_N, source_N, CLASSES)


@given(st.integers(0, 2**16))
def test_the_lowest_mark_of_the_sources_ships_and_catches_what_it_says_in_each(seed):
    rng = np.random.default_rng(seed)
    source_N = np.repeat(["a", "b"], 100)
    target_N = np.where(rng.random(200) < 0.5, MEL, NV)
    target_N[:60], target_N[100:160] = MEL, MEL
    score_N = rng.beta(2, 2, 200) * np.where(source_N == "b", 0.6, 1.0)
    ninety, ninety_five = marks_of(score_N, target_N, source_N)
    assert ninety.threshold >= ninety_five.threshold
    for mark in (ninety, ninety_five):
        own = [at.threshold for at in mark.by_source.values()]
        assert mark.threshold == min(own) == mark.by_source[mark.source].threshold
        for name, at in mark.by_source.items():
            inside = (source_N == name) & (target_N == MEL)
            assert at.caught == (score_N[inside] >= mark.threshold).mean() >= mark.catches
            assert at.malignant == inside.sum()
            benign = (source_N == name) & (target_N == NV)
            assert at.benign_flagged == pytest.approx((score_N[benign] >= mark.threshold).mean())
        assert mark.benign_flagged == pytest.approx(
            np.mean([at.benign_flagged for at in mark.by_source.values()])
        )


def test_a_lesion_counts_by_its_least_suspicious_image_and_what_is_pre_malignant_by_neither():
    """Twenty melanomas of two images; what the second image says is what counts."""
    lesion_N = np.array([f"m{number}" for number in range(20)] * 2 + ["n", "k"])
    target_N = np.array([MEL] * 40 + [NV, AKIEC])
    score_N = np.array([0.9] * 20 + list(np.linspace(0.1, 0.8, 20)) + [0.05, 0.99])
    _, mark = marks_of(score_N, target_N, np.full(42, "home"), lesion_N)
    assert mark.threshold == pytest.approx(0.1)
    (at,) = mark.by_source.values()
    assert (at.malignant, at.benign, at.benign_flagged) == (20, 1, 0.0)


def test_few_malignant_lesions_have_no_say_and_none_no_mark():
    target_N, source_N = np.array([MEL] * 30 + [NV] * 10), np.array(["a"] * 27 + ["b"] * 3 + ["a"] * 10)
    score_N = np.linspace(0.9, 0.1, 40)
    score_N[27:30] = 0.01
    ninety, _ = marks_of(score_N, target_N, source_N)
    assert ninety.source == "a"
    assert ninety.by_source["b"].threshold is None
    assert marks_of(np.array([0.5, 0.2]), np.array([NV, NV]), np.array(["a", "a"])) == ()
    one = marks_of(np.array([0.5, 0.2]), np.array([MEL, NV]), np.array(["a", "a"]))
    assert {mark.threshold for mark in one} == {0.5}


def test_ppv_is_bayes_rule():
    """Of 1,000 lesions 10 are malignant: 9 are flagged, and 99 of the 990 others."""
    assert ppv(0.9, 0.1, 0.01) == pytest.approx(9 / 108)
    assert ppv(None, 0.1, 0.01) is None
    assert ppv(0.0, 0.0, 0.5) is None
