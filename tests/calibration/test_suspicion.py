"""Marks of suspicion: the lowest of the sources' own, each what conformal bounds say it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermlens.calibration.sets import lower_bound
from dermlens.calibration.suspicion import FEWEST_MALIGNANT, fit_marks, image_bound
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
    source_N = np.repeat(["a", "b"], 200)
    target_N = np.where(rng.random(400) < 0.5, MEL, NV)
    target_N[:120], target_N[200:320] = MEL, MEL
    score_N = rng.beta(2, 2, 400) * np.where(source_N == "b", 0.6, 1.0)
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


@given(st.integers(1, 60), st.sampled_from([0.05, 0.1, 0.3]), st.integers(0, 2**16))
def test_a_bound_for_one_image_is_the_conformal_quantile_where_lesions_have_one(lesions, alpha, seed):
    score_N = np.random.default_rng(seed).random(lesions).round(1)  # with ties
    assert image_bound(score_N, np.arange(lesions), alpha) == lower_bound(score_N, alpha)


def test_one_image_of_a_new_lesion_reaches_the_bound_as_often_as_promised():
    """Lesions of one to four images that are alike among themselves, the more so the more there are."""
    rng = np.random.default_rng(0)
    reached = []
    for _ in range(4000):
        images_L = rng.integers(1, 5, 41)
        index_N = np.repeat(np.arange(41), images_L)
        score_N = (rng.normal(size=41) + images_L)[index_N] + 0.3 * rng.normal(size=len(index_N))
        new = rng.choice(score_N[index_N == 40])
        reached.append(new >= image_bound(score_N[index_N < 40], index_N[index_N < 40], 0.1))
    error = np.sqrt(0.9 * 0.1 / len(reached))
    assert 0.9 - 3 * error <= np.mean(reached) <= 0.9 + 1 / 41 + 3 * error


def test_a_lesion_counts_once_and_what_is_pre_malignant_on_neither_side():
    """Of 120 melanomas one has thirty images, the least suspicious of all: one miss, not thirty."""
    lesion_N = np.array(["often"] * 30 + [f"m{number}" for number in range(119)] + ["n", "n", "k"])
    target_N = np.array([MEL] * 149 + [NV, NV, AKIEC])
    score_N = np.array([0.01] * 30 + list(np.linspace(0.1, 0.9, 119)) + [0.05, 0.5, 0.99])
    _, mark = marks_of(score_N, target_N, np.full(152, "home"), lesion_N)
    fewer = 0.05 * 121 - 1  # the lesions that may lie below; one of them is the first
    assert mark.threshold == pytest.approx(0.1 + 0.8 / 118 * (int(fewer) - 1))
    (at,) = mark.by_source.values()
    assert (at.malignant, at.benign, at.benign_flagged) == (120, 1, 0.5)
    assert at.caught == pytest.approx(1 - int(fewer) / 120)


def test_an_unsuspicious_image_of_a_lesion_weighs_its_share_of_it():
    """Six of 120 melanomas are missed on one of their two images: three lesions, and two more may be."""
    singles = np.linspace(0.1, 0.9, 114)
    lesion_N = np.array([f"two{number}" for number in range(6)] * 2 + [f"m{number}" for number in range(114)])
    score_N = np.concatenate([np.full(6, 0.01), np.full(6, 0.95), singles])
    _, mark = marks_of(score_N, np.full(126, MEL), np.full(126, "home"), lesion_N)
    assert mark.threshold == pytest.approx(singles[2])
    assert mark.by_source["home"].caught == pytest.approx((120 - 3 - 2) / 120)


def test_sources_of_few_malignant_lesions_are_taken_together_and_none_is_no_mark():
    """The hard ones of b are too few for a mark of their own, and count with the next smaller source."""
    few, many = 20, FEWEST_MALIGNANT
    target_N = np.array([MEL] * (few + many + 3 * many) + [NV] * 10)
    source_N = np.array(["b"] * few + ["a"] * many + ["c"] * 3 * many + ["a"] * 10)
    score_N = np.concatenate(
        [np.full(few, 0.1), np.linspace(0.3, 0.6, many), np.full(3 * many, 0.9), np.full(10, 0.2)]
    )
    ninety, _ = marks_of(score_N, target_N, source_N)
    assert ninety.source == "a + b"
    assert ninety.threshold == pytest.approx(lower_bound(score_N[: few + many], 0.1))
    assert ninety.by_source["b"].threshold is None
    assert ninety.by_source["a"].threshold > ninety.threshold  # it lends its lesions and has its own mark
    alone, _ = marks_of(score_N[:few], target_N[:few], source_N[:few])
    assert (alone.source, alone.threshold) == ("b", pytest.approx(0.1))
    assert marks_of(np.array([0.5, 0.2]), np.array([NV, NV]), np.array(["a", "a"])) == ()
    one = marks_of(np.array([0.5, 0.2]), np.array([MEL, NV]), np.array(["a", "a"]))
    assert {mark.threshold for mark in one} == {0.5}


def test_ppv_is_bayes_rule():
    """Of 1,000 lesions 10 are malignant: 9 are flagged, and 99 of the 990 others."""
    assert ppv(0.9, 0.1, 0.01) == pytest.approx(9 / 108)
    assert np.isnan(ppv(0.0, 0.0, 0.5))
