"""Numbers from truth and probabilities: pure functions of arrays, used in training and in evaluation.

Every function takes optional weights, one per image, with any leading axes: none gives one number, (R, N)
gives R numbers at once, which is how R bootstrap resamples are scored without a loop. An integer weight is
worth as many repetitions of the row. What is undefined (a class without images) is NaN, and means run over
the classes present.

Shapes: N images, C classes, G distinct scores in falling order, `...` the leading axes of the weights.
docs/metrics.md says of each metric what it uses and where it misleads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

UNDECIDED = -1
"""The label of an image whose highest probability is shared by two classes, where a tie counts as wrong."""


def predicted_classes(p_NC: Floats) -> Ints:
    """The class of the highest probability; of equal ones the first in the order of the classes."""
    return np.asarray(np.argmax(p_NC, axis=1), dtype=np.int64)


def decided_classes(p_NC: Floats) -> Ints:
    """The class of the highest probability, or `UNDECIDED` where two or more share it.

    Source: `_to_labels` of isic-challenge-scoring 5.8.0.
    """
    tied_N = (p_NC == p_NC.max(axis=1, keepdims=True)).sum(axis=1) > 1
    return np.where(tied_N, UNDECIDED, predicted_classes(p_NC)).astype(np.int64)


def confusion_matrix(target_N: Ints, predicted_N: Ints, classes: int) -> Ints:
    """Counts with rows = true and columns = predicted (the paper's Fig. 8 is transposed), (C, C)."""
    counts = np.bincount(target_N * classes + predicted_N, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Counts:
    """One-vs-rest counts of every class, each (..., C), and what follows from them.

    With rows = true, FP is the column sum less TP and FN the row sum less TP; the article's Eq. 5–6 have them
    the other way round because its Fig. 8 has rows = predicted, and the TN in the denominator of its Eq. 11
    is a slip that its code does not share.
    """

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats

    @property
    def support(self) -> Floats:
        """Images of the class."""
        return self.tp + self.fn

    @property
    def precision(self) -> Floats:
        """TP/(TP+FP); 0 for a class that is present and never predicted; undefined for an absent class."""
        predicted = self.tp + self.fp
        value = np.divide(self.tp, predicted, out=np.zeros_like(predicted), where=predicted > 0)
        return np.where(self.support > 0, value, np.nan)

    @property
    def recall(self) -> Floats:
        """Sensitivity, TP/(TP+FN)."""
        return _ratio(self.tp, self.support)

    @property
    def specificity(self) -> Floats:
        """TN/(TN+FP); undefined where every image is of the class."""
        return _ratio(self.tn, self.tn + self.fp)

    @property
    def f1(self) -> Floats:
        """2TP/(2TP+FP+FN); undefined for an absent class."""
        value = _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)
        return np.where(self.support > 0, value, np.nan)

    def micro(self) -> Counts:
        """The counts summed over classes, each (..., 1)."""
        return Counts(*(part.sum(axis=-1, keepdims=True) for part in (self.tp, self.fp, self.fn, self.tn)))


def one_vs_rest(target_N: Ints, predicted_N: Ints, classes: int, weights: Floats | None = None) -> Counts:
    """Weighted one-vs-rest counts of every class.

    Args:
        target_N: class indices, 0 … C−1.
        predicted_N: class indices, or `UNDECIDED`, which is a miss for its class and a false alarm for none.
        classes: C.
        weights: (..., N); none for ones.
    """
    w = _weights(weights, len(target_N))
    truth_NC, guess_NC = _one_hot(target_N, classes), _one_hot(predicted_N, classes)
    tp, support, predicted = w @ (truth_NC * guess_NC), w @ truth_NC, w @ guess_NC
    total = w.sum(axis=-1)[..., None]
    return Counts(tp=tp, fp=predicted - tp, fn=support - tp, tn=total - support - predicted + tp)


def accuracy(target_N: Ints, p_NC: Floats, weights: Floats | None = None) -> Floats:
    """Share of images whose highest probability (first of equals) is the true class, (...)."""
    return weighted_mean(predicted_classes(p_NC) == target_N, weights)


def balanced_accuracy_isic(target_N: Ints, p_NC: Floats, weights: Floats | None = None) -> Floats:
    """Mean recall over the classes present; a tie for the maximum is wrong, (...).

    The "balanced multi-class accuracy" of the ISIC challenges. Source: isic-challenge-scoring 5.8.0.
    """
    counts = one_vs_rest(target_N, decided_classes(p_NC), p_NC.shape[1], weights)
    return macro(counts.recall, counts.support)


def balanced_accuracy_ovr(counts: Counts) -> Floats:
    """Mean over the classes present of (sensitivity + specificity)/2, one-vs-rest, (...).

    The paper's Eq. 13. With seven classes it lies far above `balanced_accuracy_isic`: naming one class for
    every image scores 0.50 here and 0.14 there.
    """
    return macro((counts.recall + counts.specificity) / 2, counts.support)


def macro(value_C: Floats, support_C: Floats) -> Floats:
    """Plain mean over the classes present, (..., C) → (...)."""
    present = support_C > 0
    return _ratio(np.where(present, value_C, 0.0).sum(axis=-1), present.sum(axis=-1).astype(np.float64))


def support_weighted(value_C: Floats, support_C: Floats) -> Floats:
    """Mean over classes weighted by their images, (..., C) → (...)."""
    present = support_C > 0
    return _ratio(np.where(present, value_C * support_C, 0.0).sum(axis=-1), support_C.sum(axis=-1))


@dataclass(frozen=True, slots=True)
class Ranking:
    """What every threshold would catch: counts of score ≥ each score, in falling order of the score.

    Images of equal score fall together, as one step of the ROC curve.

    Attributes:
        score: (G,), the distinct scores, falling.
        tp, fp: (..., G), positives and negatives at or above each.
    """

    score: Floats
    tp: Floats
    fp: Floats

    @property
    def auc(self) -> Floats:
        """Area under the ROC curve, a tie worth one half; undefined without both kinds, (...)."""
        height = (self.tp + _before(self.tp)) / 2
        area = (height * np.diff(self.fp, axis=-1, prepend=0.0)).sum(axis=-1)
        return _ratio(area, self.tp[..., -1] * self.fp[..., -1])

    @property
    def average_precision(self) -> Floats:
        """Σ (R_g − R_{g−1})·P_g as scikit-learn has it; undefined without positives, (...)."""
        precision = _ratio(self.tp, self.tp + self.fp)
        steps = np.diff(self.tp, axis=-1, prepend=0.0)
        return _ratio(np.where(steps > 0, steps * precision, 0.0).sum(axis=-1), self.tp[..., -1])

    def partial_auc(self, sensitivity: float) -> Floats:
        """Area under the part of the ROC curve at or above a sensitivity, neither rescaled nor reduced,
        (...).

        ∫ TPR dFPR over the points with TPR ≥ the sensitivity, the first being interpolated: 1 for a perfect
        ranking, (1 − s²)/2 for chance (0.18 at s = 0.8). Source: `auc_above_sensitivity` of
        isic-challenge-scoring 5.8.0.
        """
        tpr = _ratio(self.tp, self.tp[..., -1:])
        fpr = _ratio(self.fp, self.fp[..., -1:])
        low, left = _before(tpr), _before(fpr)
        entered = (low < sensitivity) & (tpr >= sensitivity)
        share = np.divide(sensitivity - low, tpr - low, out=np.zeros_like(tpr), where=entered)
        left = np.where(entered, left + share * (fpr - left), left)
        low = np.where(entered, sensitivity, low)
        area = np.where(tpr >= sensitivity, (fpr - left) * (tpr + low) / 2, 0.0).sum(axis=-1)
        both = (self.tp[..., -1] > 0) & (self.fp[..., -1] > 0)
        return np.where(both, area, np.nan)


def ranking(positive_N: Bools, score_N: Floats, weights: Floats | None = None) -> Ranking:
    """Sort once, cumulate for all weights.

    Args:
        positive_N: which images are of the class or group sought.
        score_N: higher means more likely to be.
        weights: (..., N); none for ones.
    """
    order = np.argsort(-score_N, kind="stable")
    score, positive = score_N[order], positive_N[order]
    w = _weights(weights, len(score_N))[..., order]
    tp, fp = (np.cumsum(w * side, axis=-1) for side in (positive, ~positive))
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True))
    return Ranking(score=score[last], tp=tp[..., last], fp=fp[..., last])


def auc_by_class(target_N: Ints, p_NC: Floats, weights: Floats | None = None) -> Floats:
    """The area under the ROC curve of each class against the rest, (..., C)."""
    classes = range(p_NC.shape[1])
    return np.stack([ranking(target_N == one, p_NC[:, one], weights).auc for one in classes], axis=-1)


def log_loss(target_N: Ints, p_NC: Floats, weights: Floats | None = None) -> Floats:
    """Mean of −log p_true in nats, p cut at the smallest step of float64 as scikit-learn does, (...)."""
    p_true_N = np.take_along_axis(p_NC, target_N[:, None], axis=1)[:, 0]
    return weighted_mean(-np.log(np.maximum(p_true_N, np.finfo(np.float64).eps)), weights)


def brier(target_N: Ints, p_NC: Floats, weights: Floats | None = None) -> Floats:
    """Mean over images of Σ_c (p_c − y_c)², from 0 to 2, (...). Source: Brier 1950, its multi-class form."""
    return weighted_mean(((p_NC - _one_hot(target_N, p_NC.shape[1])) ** 2).sum(axis=1), weights)


def mean_cost(target_N: Ints, named_N: Ints, cost_CC: Floats, weights: Floats | None = None) -> Floats:
    """Mean real-world cost of the named classes (Ho and Wookey 2020, arXiv 2001.00570).

    Args:
        target_N: class indices.
        named_N: class indices; UNDECIDED costs what the dearest confusion of the true class does.
        cost_CC: cost of naming the column's class where the row's is true; the diagonal is free.
        weights: (..., N); none for ones.

    Returns:
        (...), in the unit of the costs.
    """
    row_NC = cost_CC[target_N]
    named_cost_N = np.take_along_axis(row_NC, np.maximum(named_N, 0)[:, None], axis=1)[:, 0]
    return weighted_mean(np.where(named_N == UNDECIDED, row_NC.max(axis=1), named_cost_N), weights)


def weighted_mean(value_N: NDArray[Any], weights: Floats | None = None) -> Floats:
    """Σ w·v / Σ w, (...)."""
    w = _weights(weights, len(value_N))
    return _ratio(w @ value_N.astype(np.float64), w.sum(axis=-1))


def _weights(weights: Floats | None, images: int) -> Floats:
    return np.ones(images) if weights is None else np.asarray(weights, dtype=np.float64)


def _one_hot(index_N: Ints, classes: int) -> Floats:
    """(N, C); a row of zeros for `UNDECIDED`."""
    return np.asarray(index_N[:, None] == np.arange(classes), dtype=np.float64)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """The quotient, NaN where the denominator is 0."""
    top, bottom = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    return np.asarray(np.divide(top, bottom, out=np.full(bottom.shape, np.nan), where=bottom != 0))


def _before(cumulated: Floats) -> Floats:
    """Each step's value before it, beginning with 0."""
    return np.concatenate([np.zeros_like(cumulated[..., :1]), cumulated[..., :-1]], axis=-1)
