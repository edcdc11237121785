from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given
from hypothesis import strategies as st

from dermlens.evaluation.detection import (
    NET_BENEFIT_THRESHOLDS,
    PREVALENCES,
    benefits_at,
    detection_groups,
    group_scores,
    net_benefit,
    ppv,
    ppv_estimates,
    rates_at,
    threshold_at,
    threshold_role,
)
from dermlens.evaluation.intervals import draw_lesions
from dermlens.labels import CLASSES, Vocabulary


def test_groups_of_the_seven():
    assert detection_groups(Vocabulary(CLASSES)) == {
        "melanoma": ("mel",),
        "malignant_with_akiec": ("akiec", "bcc", "mel"),
        "malignant_without_akiec": ("bcc", "mel"),
    }


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (("bkl", "mel", "nv"), {"melanoma"}),
        (("bcc", "mel", "nv"), {"melanoma", "malignant_without_akiec"}),
        (("bcc", "mel", "nv", "scc"), {"melanoma"}),  # what scc is, is not known here
        (("bkl", "nv"), set()),
        (("bcc", "mel"), {"melanoma"}),  # nothing benign to tell from
    ],
)
def test_groups_of_other_labels(classes, names):
    assert set(detection_groups(Vocabulary(classes))) == names


def test_group_score_is_the_sum_of_its_classes():
    p_NC = np.array([[0.1, 0.2, 0.0, 0.0, 0.3, 0.4, 0.0], [0.0, 0.0, 0.5, 0.5, 0.0, 0.0, 0.0]])
    positive_N, score_N = group_scores(np.array([1, 3]), p_NC, CLASSES, ("bcc", "mel"))
    assert positive_N.tolist() == [True, False]
    assert score_N.tolist() == [0.5, 0.0]


@pytest.mark.parametrize(
    ("role", "available", "source"),
    [
        ("selection", ["selection", "calibration", "test"], "calibration"),
        ("calibration", ["selection", "calibration", "test"], "selection"),
        ("test", ["selection", "calibration", "test"], "calibration"),
        ("external", ["selection", "external"], "selection"),
        ("selection", ["selection", "test"], "selection"),  # never on test
        ("test", ["train", "test"], "test"),
    ],
)
def test_threshold_comes_from_another_role(role, available, source):
    assert threshold_role(role, available) == source


def test_threshold_by_hand():
    score_N = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.95])
    positive_N = np.array([True] * 10 + [False])
    assert threshold_at(positive_N, score_N, 0.9) == 0.1  # nine of ten
    assert threshold_at(positive_N, score_N, 0.95) == 0.05  # ten of ten
    assert rates_at(positive_N, score_N, 0.1) == (0.9, 0.0)
    assert threshold_at(~positive_N & False, score_N, 0.9) is None


def test_threshold_does_not_stumble_over_floats():
    """0.55 · 100 is a little more than 55 in floats; 55 of the hundred are enough all the same."""
    assert 0.55 * 100 > 55
    assert threshold_at(np.ones(100, dtype=bool), np.arange(1.0, 101.0), 0.55) == 46


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60),
    st.sampled_from([0.5, 0.9, 0.95, 1.0]),
)
def test_threshold_reaches_its_aim_and_no_higher_one_does(rows, aim):
    """Against scikit-learn's curve: of the thresholds that reach the aim, ours is the highest."""
    positive_N = np.array([positive for positive, _ in rows] + [True, False])
    score_N = np.array([score for _, score in rows] + [7, 3]) / 20
    _, tpr, thresholds = sk.roc_curve(positive_N, score_N, drop_intermediate=False)
    expected = thresholds[tpr >= aim - 1e-9].max()
    found = threshold_at(positive_N, score_N, aim)
    assert found == expected
    assert rates_at(positive_N, score_N, found)[0] >= aim - 1e-9


def test_net_benefit_by_hand():
    """At 20 %, a false alarm weighs a quarter: 2 of 10 caught, 1 false alarm, prevalence 0.3."""
    positive_N = np.array([True] * 3 + [False] * 7)
    score_N = np.array([0.9, 0.2, 0.1, 0.5, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0])
    (point,) = net_benefit(positive_N, score_N, [0.2])
    assert point == {
        "threshold": 0.2,
        "model": pytest.approx(0.2 - 0.1 / 4),
        "all": pytest.approx(0.3 - 0.7 / 4),
        "none": 0.0,
    }


def test_net_benefit_limits():
    """A perfect score earns the prevalence everywhere; one that marks all is worth what treating all is."""
    positive_N = np.array([True, True, False, False, False])
    curve = net_benefit(positive_N, positive_N.astype(float))
    assert [point["threshold"] for point in curve] == [k / 100 for k in range(2, 21, 2)]
    assert all(point["model"] == pytest.approx(0.4) for point in curve)
    for point in net_benefit(positive_N, np.ones(5)):
        assert point["model"] == pytest.approx(point["all"])


def drawn_scores(images=60, seed=0):
    """Truth, scores that lean to it, and the lesions of two images each."""
    rng = np.random.default_rng(seed)
    positive_N = np.repeat(rng.random(images // 2) < 0.3, 2)
    score_N = np.clip(rng.normal(0.1, 0.08, images) + 0.1 * positive_N, 0, 1)
    return positive_N, score_N, np.repeat(np.arange(images // 2), 2)


def test_net_benefit_of_a_draw_is_that_of_the_images_drawn():
    """Weights are how often an image comes: the same as a table with so many rows of it."""
    positive_N, score_N, _ = drawn_scores()
    count_RN = np.random.default_rng(1).integers(0, 4, (5, len(score_N)))
    found_RT = benefits_at(positive_N, score_N, count_RN.astype(float))
    for count_N, found_T in zip(count_RN, found_RT, strict=True):
        rows = np.repeat(np.arange(len(score_N)), count_N)
        expected = [point["model"] for point in net_benefit(positive_N[rows], score_N[rows])]
        np.testing.assert_allclose(found_T, expected, atol=1e-12)


def test_net_benefit_of_weights_by_hand():
    """Weights 2, 1, 1 at 20 %: one of four caught rightly twice over, one wrongly at a quarter."""
    positive_N, score_N = np.array([True, False, True]), np.array([0.5, 0.3, 0.1])
    (found,) = benefits_at(positive_N, score_N, np.array([2.0, 1.0, 1.0]), [0.2])
    assert found == pytest.approx(2 / 4 - 1 / 4 / 4)


@given(st.integers(0, 1000))
def test_net_benefit_lies_between_its_limits(seed):
    """Never above the prevalence, nor below acting on every image of no disease."""
    positive_N, score_N, _ = drawn_scores(20, seed)
    for threshold, value in zip(NET_BENEFIT_THRESHOLDS, benefits_at(positive_N, score_N), strict=True):
        assert -threshold / (1 - threshold) - 1e-12 <= value <= positive_N.mean() + 1e-12


def test_intervals_go_along_with_the_curve():
    positive_N, score_N, _ = drawn_scores()
    ends = [{"value": 0.0, "low": -k / 100, "high": k / 100} for k in range(10)]
    curve = net_benefit(positive_N, score_N, intervals=ends)
    assert [(point["low"], point["high"]) for point in curve] == [(-k / 100, k / 100) for k in range(10)]
    plain = net_benefit(positive_N, score_N)
    assert [{key: point[key] for key in plain[0]} for point in curve] == plain


def test_ppv_intervals_are_percentiles_over_draws_of_lesions():
    """Against a plain loop over tables that hold each image as often as its lesion was drawn."""
    positive_N, score_N, lesion_N = drawn_scores(200)
    flagged_N = score_N >= 0.15
    resamples = draw_lesions(lesion_N, positive_N.astype(int), replicates=150, seed=2)
    found = ppv_estimates(flagged_N, positive_N, ~positive_N, resamples, level=0.9)
    for prevalence in PREVALENCES:
        value = ppv(flagged_N[positive_N].mean(), flagged_N[~positive_N].mean(), prevalence)
        of_draws = []
        for count_L in resamples.counts:
            rows = np.repeat(np.arange(len(score_N)), count_L[resamples.lesion])
            flagged, positive = flagged_N[rows], positive_N[rows]
            of_draws.append(ppv(flagged[positive].mean(), flagged[~positive].mean(), prevalence))
        low, high = np.quantile(of_draws, [0.05, 0.95])
        assert found[prevalence] == {
            "value": pytest.approx(value),
            "low": pytest.approx(low),
            "high": pytest.approx(high),
        }
        assert low < value < high


def test_ppv_is_undefined_where_nothing_is_flagged_or_sought():
    positive_N, score_N, lesion_N = drawn_scores()
    resamples = draw_lesions(lesion_N, positive_N.astype(int), replicates=10, seed=0)
    nothing = {"value": None, "low": None, "high": None}
    for flagged_N, sought_N in ((score_N > 2, positive_N), (score_N > 0.1, positive_N & False)):
        found = ppv_estimates(flagged_N, sought_N, ~positive_N, resamples, level=0.95)
        assert all(found[prevalence] == nothing for prevalence in PREVALENCES)
