from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import recall_score

from dermlens.export.int8 import compare
from dermlens.labels import CLASSES, Vocabulary

RNG = np.random.default_rng(0)
N = 2000
TARGET_N = RNG.choice(7, N, p=[0.05, 0.08, 0.12, 0.05, 0.15, 0.5, 0.05])
LESION_N = np.arange(N)
MEL = CLASSES.index("mel")


def guesses(wrong):
    named_N = TARGET_N.copy()
    missed_N = RNG.random(N) < wrong
    named_N[missed_N] = (TARGET_N[missed_N] + 1) % 7
    return named_N


def test_the_values_are_scikit_learns():
    before_N, after_N = guesses(0.2), guesses(0.25)
    found = compare(TARGET_N, LESION_N, before_N, after_N, Vocabulary(CLASSES), replicates=50)
    for name, average, labels in (("mean_recall", "macro", None), ("mel_recall", "macro", [MEL])):
        for side, named_N in (("before", before_N), ("after", after_N)):
            expected = recall_score(TARGET_N, named_N, labels=labels, average=average)
            assert found[name][side] == pytest.approx(expected)
        assert found[name]["lost"] == pytest.approx(found[name]["before"] - found[name]["after"])
    assert found["changed"] == pytest.approx(np.mean(before_N != after_N))
    assert (found["images"], found["lesions"]) == (N, N)


def test_the_same_answers_pass():
    named_N = guesses(0.2)
    found = compare(TARGET_N, LESION_N, named_N, named_N, Vocabulary(CLASSES))
    assert found["accepted"]
    assert found["mean_recall"]["lost_at_most"] == 0


def test_a_handful_of_lesions_shows_nothing():
    """No answer changed, and still too little was seen to say so of others."""
    target_N = np.repeat(np.arange(7), [9, 9, 9, 4, 60, 9, 9])
    found = compare(target_N, np.arange(len(target_N)), target_N, target_N, Vocabulary(CLASSES))
    assert not found["accepted"]
    assert "4 lesions of df" in found["why"]
    target_N = np.repeat(np.arange(7), 12)
    found = compare(target_N, np.arange(len(target_N)), target_N, target_N, Vocabulary(CLASSES))
    assert found["why"].startswith("12 lesions of mel ")
    assert "50" in found["why"]


def spoiled(named_N, count, code):
    """So many right answers of a class made wrong."""
    right_N = np.flatnonzero((named_N == TARGET_N) & (CLASSES.index(code) == TARGET_N))
    after_N = named_N.copy()
    after_N[right_N[:count]] = (TARGET_N[right_N[:count]] + 1) % 7
    return after_N


def test_lost_melanomas_are_refused_though_mean_recall_holds():
    named_N = guesses(0.1)
    melanomas = int((TARGET_N == MEL).sum())
    found = compare(
        TARGET_N, LESION_N, named_N, spoiled(named_N, melanomas // 20, "mel"), Vocabulary(CLASSES)
    )
    assert not found["accepted"]
    assert found["mean_recall"]["lost_at_most"] <= 0.011
    assert "mel recall may fall" in found["why"]


def test_a_loss_within_bounds_that_so_few_lesions_cannot_show_is_refused():
    named_N = guesses(0.1)
    melanomas = int((TARGET_N == MEL).sum())
    found = compare(
        TARGET_N, LESION_N, named_N, spoiled(named_N, round(0.015 * melanomas), "mel"), Vocabulary(CLASSES)
    )
    assert found["mel_recall"]["lost"] < 0.02 < found["mel_recall"]["lost_at_most"]
    assert not found["accepted"]


def test_images_of_one_lesion_count_as_one():
    """Ten images a lesion, right and wrong together: the bound is wider than over as many lesions."""
    named_N = guesses(0.1)
    after_N = guesses(0.11)
    alone = compare(TARGET_N, LESION_N, named_N, after_N, Vocabulary(CLASSES))
    rows = np.repeat(np.arange(N // 10), 10)
    grouped = compare(TARGET_N[rows], rows, named_N[rows], after_N[rows], Vocabulary(CLASSES))
    width = [one["mean_recall"]["lost_at_most"] - one["mean_recall"]["lost"] for one in (alone, grouped)]
    assert width[1] > 2 * width[0]


def test_without_melanomas_nothing_is_accepted():
    kept_N = TARGET_N != MEL
    named_N = guesses(0.2)
    found = compare(TARGET_N[kept_N], LESION_N[kept_N], named_N[kept_N], named_N[kept_N], Vocabulary(CLASSES))
    assert not found["accepted"]
    assert "mel recall" in found["why"]
    own = compare(
        TARGET_N[kept_N] % 2,
        LESION_N[kept_N],
        named_N[kept_N] % 2,
        named_N[kept_N] % 2,
        Vocabulary(("a", "b")),
    )
    assert own["accepted"]


def test_malignant_own_classes_are_watched_as_melanoma_is():
    output = Vocabulary(("a", "b"), {"b": {"malignant": True}})
    target_N, lesion_N = np.arange(200) % 2, np.arange(200)
    lost_N = np.where(lesion_N % 20 == 1, 0, target_N)  # one in ten of b
    assert "b recall" in compare(target_N, lesion_N, target_N, lost_N, output, replicates=200)["why"]
    few = np.r_[np.zeros(100, dtype=int), np.ones(30, dtype=int)]
    assert "30 lesions of b" in compare(few, np.arange(130), few, few, output, replicates=50)["why"]
