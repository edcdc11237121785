"""dermlens.metrics against hand-made tables, scikit-learn, the authors' printed counts, and invariances."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from dermlens import metrics

MD_DN_LR = np.array(
    [
        [20, 4, 5, 0, 2, 2, 0],
        [1, 38, 2, 1, 2, 7, 0],
        [4, 3, 86, 1, 6, 9, 0],
        [0, 1, 1, 9, 0, 1, 0],
        [0, 2, 4, 0, 74, 31, 0],
        [1, 2, 12, 1, 16, 633, 1],
        [0, 0, 0, 0, 0, 1, 13],
    ]
)
"""The paper's Fig. 10, its DenseNet201: rows = true, columns = predicted."""


@st.composite
def tables(draw, *, all_present=False):
    """Truth, probabilities on a coarse grid (so that ties abound) and integer weights."""
    classes = draw(st.integers(2, 5))
    images = draw(st.integers(classes, 30))
    target = draw(st.lists(st.integers(0, classes - 1), min_size=images, max_size=images))
    if all_present:
        target[:classes] = range(classes)
    parts = draw(
        st.lists(
            st.lists(st.integers(1, 6), min_size=classes, max_size=classes),
            min_size=images,
            max_size=images,
        )
    )
    p_NC = np.array(parts, dtype=float)
    weights = draw(st.lists(st.integers(0, 3), min_size=images, max_size=images))
    return np.array(target), p_NC / p_NC.sum(axis=1, keepdims=True), np.array(weights, dtype=float)


def everything(target_N, p_NC, weights=None):
    """Every metric of the module, as one flat array per name."""
    classes = p_NC.shape[1]
    counts = metrics.one_vs_rest(target_N, metrics.predicted_classes(p_NC), classes, weights)
    ranked = [metrics.ranking(target_N == c, p_NC[:, c], weights) for c in range(classes)]
    found = {name: getattr(counts, name) for name in ("precision", "recall", "specificity", "f1")}
    found |= {
        "accuracy": metrics.accuracy(target_N, p_NC, weights),
        "isic": metrics.balanced_accuracy_isic(target_N, p_NC, weights),
        "ovr": metrics.balanced_accuracy_ovr(counts),
        "auc": np.stack([r.auc for r in ranked], axis=-1),
        "ap": np.stack([r.average_precision for r in ranked], axis=-1),
        "pauc": np.stack([r.partial_auc(0.8) for r in ranked], axis=-1),
        "brier": metrics.brier(target_N, p_NC, weights),
        "log_loss": metrics.log_loss(target_N, p_NC, weights),
    }
    return found


def replicate(target_N, predicted_N, matrix):
    return np.repeat(target_N, matrix.ravel()), np.repeat(predicted_N, matrix.ravel())


def test_hand_made_table():
    """Three classes, five images, every number worked out on paper; the last image is a tie."""
    target_N = np.array([0, 0, 1, 1, 2])
    p_NC = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.7, 0.1], [0.1, 0.5, 0.4], [0.4, 0.2, 0.4]])
    counts = metrics.one_vs_rest(target_N, metrics.predicted_classes(p_NC), 3)
    assert counts.tp.tolist() == [1, 2, 0]
    assert counts.fp.tolist() == [1, 1, 0]
    assert counts.fn.tolist() == [1, 0, 1]
    assert counts.tn.tolist() == [2, 2, 4]
    assert counts.precision.tolist() == pytest.approx([1 / 2, 2 / 3, 0])
    assert counts.f1.tolist() == pytest.approx([1 / 2, 4 / 5, 0])
    assert counts.specificity.tolist() == pytest.approx([2 / 3, 2 / 3, 1])
    assert metrics.accuracy(target_N, p_NC) == pytest.approx(3 / 5)
    assert metrics.balanced_accuracy_isic(target_N, p_NC) == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert metrics.balanced_accuracy_ovr(counts) == pytest.approx((7 / 6 + 5 / 3 + 1) / 6)
    assert metrics.confusion_matrix(target_N, metrics.predicted_classes(p_NC), 3).tolist() == [
        [1, 1, 0],
        [0, 2, 0],
        [1, 0, 0],
    ]
    errors = [0.09 + 0.04 + 0.01, 0.49 + 0.36 + 0.01, 0.04 + 0.09 + 0.01, 0.01 + 0.25 + 0.16]
    assert metrics.brier(target_N, p_NC) == pytest.approx((sum(errors) + 0.16 + 0.04 + 0.36) / 5)


def test_tie_is_wrong_for_isic_alone():
    """The true class is the first of two equal: right by the ordinary rule, undecided by the ISIC's."""
    target_N, p_NC = np.array([0, 1]), np.array([[0.4, 0.4, 0.2], [0.1, 0.8, 0.1]])
    assert metrics.accuracy(target_N, p_NC) == 1
    assert metrics.balanced_accuracy_isic(target_N, p_NC) == 0.5
    assert metrics.decided_classes(p_NC).tolist() == [metrics.UNDECIDED, 1]


def test_absent_class_is_undefined_and_left_out_of_means():
    target_N, p_NC = np.array([0, 0, 1]), np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.2, 0.7, 0.1]])
    found = everything(target_N, p_NC)
    for name in ("precision", "recall", "f1", "auc", "ap", "pauc"):
        assert np.isnan(found[name][2]), name
    assert found["specificity"][2] == pytest.approx(2 / 3)
    assert found["isic"] == pytest.approx((1 / 2 + 1) / 2)
    assert metrics.macro(found["recall"], np.array([2.0, 1.0, 0.0])) == pytest.approx(0.75)


def test_class_never_predicted_has_precision_zero():
    """Leaving it undefined would take a class that the model forgot out of the mean."""
    counts = metrics.one_vs_rest(np.array([0, 1]), np.array([0, 0]), 2)
    assert counts.precision.tolist() == [0.5, 0.0]


def test_one_kind_only_has_no_ranking():
    ranked = metrics.ranking(np.array([True, True]), np.array([0.2, 0.9]))
    assert np.isnan(ranked.auc)
    assert np.isnan(ranked.partial_auc(0.8))


def test_partial_auc_limits():
    """1 for a perfect ranking, (1 − s²)/2 on the diagonal, 0 for a reversed one."""
    positive_N = np.array([True, True, False, False])
    assert metrics.ranking(positive_N, np.array([0.9, 0.8, 0.2, 0.1])).partial_auc(0.8) == 1
    assert metrics.ranking(positive_N, np.full(4, 0.5)).partial_auc(0.8) == pytest.approx(0.18)
    assert metrics.ranking(positive_N, np.array([0.1, 0.2, 0.8, 0.9])).partial_auc(0.8) == 0


def test_authors_printed_counts():
    """Cells, OvR counts, means: as the authors' notebook printed them for Fig. 10."""
    rows, columns = np.indices((7, 7))
    target_N, predicted_N = replicate(rows.ravel(), columns.ravel(), MD_DN_LR)
    np.testing.assert_array_equal(metrics.confusion_matrix(target_N, predicted_N, 7), MD_DN_LR)
    counts = metrics.one_vs_rest(target_N, predicted_N, 7)
    printed = "20/6/13/957 38/12/13/933 86/24/23/863 9/3/3/981 74/26/37/859 633/51/33/279 13/1/1/981"
    ours = zip(counts.tp, counts.fp, counts.fn, counts.tn, strict=True)
    assert " ".join("/".join(str(int(count)) for count in cells) for cells in ours) == printed
    assert metrics.macro(counts.precision, counts.support) == pytest.approx(0.8079, abs=5e-5)
    assert metrics.macro(counts.recall, counts.support) == pytest.approx(0.7765, abs=5e-5)
    assert metrics.macro(counts.specificity, counts.support) == pytest.approx(0.9666, abs=5e-5)
    assert metrics.balanced_accuracy_ovr(counts) == pytest.approx(0.8716, abs=5e-5)
    assert counts.f1.round(2).tolist() == [0.68, 0.75, 0.79, 0.75, 0.70, 0.94, 0.93]


@given(tables())
@settings(max_examples=30, deadline=None)
def test_counts_agree_with_scikit_learn(table):
    target_N, p_NC, weights = table
    predicted_N, classes = metrics.predicted_classes(p_NC), p_NC.shape[1]
    weights = weights + 1
    counts = metrics.one_vs_rest(target_N, predicted_N, classes, weights)
    present = np.unique(target_N)
    options = {"labels": present, "sample_weight": weights, "zero_division": 0}
    theirs = sk.precision_recall_fscore_support(target_N, predicted_N, **options)
    for ours, expected in zip((counts.precision, counts.recall, counts.f1), theirs[:3], strict=True):
        np.testing.assert_allclose(ours[present], expected, atol=1e-12)
    np.testing.assert_allclose(counts.support[present], theirs[3])
    for average, mean in (("macro", metrics.macro), ("weighted", metrics.support_weighted)):
        theirs = sk.precision_recall_fscore_support(target_N, predicted_N, average=average, **options)
        for ours, expected in zip((counts.precision, counts.recall, counts.f1), theirs[:3], strict=True):
            np.testing.assert_allclose(mean(ours, counts.support), expected, atol=1e-12)
    micro = sk.precision_recall_fscore_support(
        target_N, predicted_N, average="micro", sample_weight=weights, labels=range(classes)
    )
    summed = counts.micro()
    np.testing.assert_allclose(np.r_[summed.precision, summed.recall, summed.f1], micro[:3], atol=1e-12)
    theirs = sk.multilabel_confusion_matrix(
        target_N, predicted_N, labels=range(classes), sample_weight=weights
    )
    ours = np.stack([counts.tn, counts.fp, counts.fn, counts.tp], axis=-1)
    np.testing.assert_allclose(ours, theirs.reshape(classes, 4), atol=1e-9)


@given(tables())
@settings(max_examples=30, deadline=None)
def test_isic_balanced_accuracy_is_scikit_learns_where_nothing_ties(table):
    target_N, p_NC, weights = table
    p_NC = p_NC + np.linspace(0, 1e-3, p_NC.size).reshape(p_NC.shape) ** 2  # breaks every tie
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a predicted class that is absent
        expected = sk.balanced_accuracy_score(target_N, p_NC.argmax(axis=1), sample_weight=weights + 1)
    assert metrics.balanced_accuracy_isic(target_N, p_NC, weights + 1) == pytest.approx(expected, abs=1e-12)


@given(tables(all_present=True))
@settings(max_examples=30, deadline=None)
def test_rankings_and_scores_agree_with_scikit_learn(table):
    target_N, p_NC, weights = table
    weights = weights + 1
    classes = p_NC.shape[1]
    found = everything(target_N, p_NC, weights)
    truth_NC = np.eye(classes)[target_N]
    support = metrics.one_vs_rest(target_N, target_N, classes, weights).support
    for index in range(classes):
        expected = sk.average_precision_score(truth_NC[:, index], p_NC[:, index], sample_weight=weights)
        assert found["ap"][index] == pytest.approx(expected, abs=1e-12)
    options = {"sample_weight": weights, "average": None}
    np.testing.assert_allclose(found["auc"], sk.roc_auc_score(truth_NC, p_NC, **options), atol=1e-12)
    for average, mean in (("macro", metrics.macro), ("weighted", metrics.support_weighted)):
        expected = sk.roc_auc_score(truth_NC, p_NC, sample_weight=weights, average=average)
        assert mean(found["auc"], support) == pytest.approx(expected, abs=1e-12)
    assert found["log_loss"] == pytest.approx(
        sk.log_loss(target_N, p_NC, labels=range(classes), sample_weight=weights), abs=1e-12
    )
    binary = [
        sk.brier_score_loss(truth_NC[:, index], p_NC[:, index], sample_weight=weights)
        for index in range(classes)
    ]
    assert found["brier"] == pytest.approx(sum(binary), abs=1e-12)
    assert found["accuracy"] == pytest.approx(
        sk.accuracy_score(target_N, p_NC.argmax(axis=1), sample_weight=weights)
    )


@given(tables(all_present=True), st.sampled_from([0.5, 0.8, 0.95]))
@settings(max_examples=30, deadline=None)
def test_partial_auc_is_the_area_cut_off_scikit_learns_curve(table, sensitivity):
    """An independent way to it: the curve sampled densely in TPR, ∫ over TPR instead of over FPR."""
    target_N, p_NC, _ = table
    positive_N = target_N == 0
    fpr, tpr, _ = sk.roc_curve(positive_N, p_NC[:, 0], drop_intermediate=False)
    ours = metrics.ranking(positive_N, p_NC[:, 0]).partial_auc(sensitivity)
    # ∫ TPR dFPR from the cut to the corner (1, 1), by parts: 1 − s·FPR(s) − ∫ FPR dTPR
    grid = np.linspace(sensitivity, 1, 20001)
    slightly_right = np.interp(grid, tpr + np.arange(len(tpr)) * 1e-12, fpr)
    expected = 1 - sensitivity * slightly_right[0] - np.trapezoid(slightly_right, grid)
    assert ours == pytest.approx(expected, abs=2e-3)


@given(tables(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_rows_may_be_shuffled_and_doubled(table, random):
    target_N, p_NC, _ = table
    order = list(range(len(target_N)))
    random.shuffle(order)
    plain, doubled = everything(target_N, p_NC), everything(np.tile(target_N, 2), np.tile(p_NC, (2, 1)))
    shuffled = everything(target_N[order], p_NC[order])
    for name, value in plain.items():
        np.testing.assert_allclose(shuffled[name], value, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(doubled[name], value, atol=1e-12, err_msg=name)


@given(tables())
@settings(max_examples=30, deadline=None)
def test_integer_weights_are_repetitions(table):
    target_N, p_NC, weights = table
    if not weights.any():
        weights = weights + 1
    times = weights.astype(int)
    weighted = everything(target_N, p_NC, weights)
    repeated = everything(np.repeat(target_N, times), np.repeat(p_NC, times, axis=0))
    for name, value in repeated.items():
        np.testing.assert_allclose(weighted[name], value, atol=1e-12, err_msg=name)


@given(tables())
@settings(max_examples=30, deadline=None)
def test_many_weights_at_once_are_each_alone(table):
    target_N, p_NC, weights = table
    stacked = np.stack([weights + 1, np.roll(weights, 1) + 1, np.ones(len(weights))])
    together = everything(target_N, p_NC, stacked)
    for row, alone in enumerate(stacked):
        for name, value in everything(target_N, p_NC, alone).items():
            np.testing.assert_allclose(together[name][row], value, atol=1e-12, err_msg=name)


def test_probability_zero_on_the_truth_stays_finite():
    assert np.isfinite(metrics.log_loss(np.array([0]), np.array([[0.0, 1.0]])))
