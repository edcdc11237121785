"""Whether a stated probability comes true, and what sets and abstention do for the images.

Shapes: N images, C classes, B bins, R draws, `...` the leading axes of the weights.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.data.predictions import arrays, diagnoses
from dermlens.evaluation.intervals import BLOCK, Place, Resamples, estimate, mean_recall, nest, share_within
from dermlens.labels import Vocabulary
from dermlens.metrics import Bools, Floats, Ints, predicted_classes, weighted_mean
from dermlens.predict.decision import REASONS, at_equal, sets_of
from dermlens.predict.decision_document import DecisionDocument

# Reliability bins and the expected calibration error look at the highest probability of each image alone
# (top-label calibration). Source: Guo, Pleiss, Sun, Weinberger 2017, Eq. 3–5, with 15 bins of equal width.


BINS = 15


def ece(target_N: Ints, p_NC: Floats, weights: Floats | None = None) -> Floats:
    """Expected calibration error: Σ_b n_b/N · |accuracy_b − confidence_b|, (...).

    Args:
        target_N: class indices.
        p_NC: probabilities.
        weights: (..., N); none for ones.
    """
    inside_NB = (bin_of(p_NC, BINS)[:, None] == np.arange(BINS)).astype(np.float64)
    gap_NB = (_right(target_N, p_NC) - p_NC.max(axis=1))[:, None] * inside_NB
    w = np.ones(len(target_N)) if weights is None else weights
    return np.asarray(np.abs(w @ gap_NB).sum(axis=-1) / w.sum(axis=-1))


def reliability(target_N: Ints, p_NC: Floats, bins: int = BINS) -> list[dict[str, float | int | None]]:
    """The bins of the reliability diagram, empty ones included, as plain numbers.

    Returns:
        `low` and `high`, between which (low, high] the highest probability of `count` images lies, its mean
        `confidence` and `accuracy`, the share named rightly; both none for an empty bin.
    """
    edges, where_N = _edges(bins), bin_of(p_NC, bins)
    right_N, confidence_N = _right(target_N, p_NC), p_NC.max(axis=1)
    found: list[dict[str, float | int | None]] = []
    for index in range(bins):
        inside_N = where_N == index
        entry: dict[str, float | int | None] = {
            "low": float(edges[index]),
            "high": float(edges[index + 1]),
            "count": int(inside_N.sum()),
        }
        for name, value_N in (("confidence", confidence_N), ("accuracy", right_N)):
            entry[name] = float(weighted_mean(value_N[inside_N])) if entry["count"] else None
        found.append(entry)
    return found


def _right(target_N: Ints, p_NC: Floats) -> Floats:
    return np.asarray(predicted_classes(p_NC) == target_N, dtype=np.float64)


def _edges(bins: int) -> Floats:
    return np.linspace(0.0, 1.0, bins + 1)


def bin_of(p_NC: Floats, bins: int) -> Ints:
    """Which bin (low, high] holds each highest probability."""
    found = np.searchsorted(_edges(bins), p_NC.max(axis=1), side="left") - 1
    return np.asarray(np.clip(found, 0, bins - 1), dtype=np.int64)


# Whether a calibration error is more than chance, and which way the probabilities err.
#
# The expected calibration error of a model whose probabilities are exactly right is above 0, because each bin
# holds few images: `ece_by_chance` draws right and wrong from the probabilities themselves and says how large
# it would be. A measured error within that band shows no miscalibration, which is not the same as there being
# none.
#
# `line` says which way the highest probability errs (Cox 1958; Van Calster et al. 2019). With x its log odds:
#
#     slope       b of logit P(right) = a + b·x. Below 1 the model is too sure, above 1 not sure enough.
#     intercept   a of logit P(right) = a + x. Below 0 the probabilities are too high on the whole.


CLIP = 1e-6
"""Log odds are taken of probabilities this far from 0 and 1 at least."""
STEPS, CLOSE = 50, 1e-9


def ece_by_chance(
    p_NC: Floats, *, draws: int, seed: int, level: float, weights: Floats | None = None
) -> dict[str, float | None]:
    """The calibration error that chance alone gives, were every probability exactly right.

    Args:
        p_NC: probabilities; only the highest of each image counts.
        draws: R, how often right and wrong are drawn; 0 for none.
        seed: of the draws.
        level: 0.95 for the 2.5th and 97.5th percentile.
        weights: (N,), of the images; none for ones.

    Returns:
        mean, low and high; null without draws or images.
    """
    images = len(p_NC)
    if not draws or not images:
        return {"mean": None, "low": None, "high": None}
    p_N = p_NC.max(axis=1)
    w_N = np.ones(images) if weights is None else weights / weights.mean()
    inside_NB = w_N[:, None] * (bin_of(p_NC, BINS)[:, None] == np.arange(BINS))
    rng = np.random.default_rng(seed)
    found = []
    for start in range(0, draws, BLOCK):
        right_RN = rng.random((min(BLOCK, draws - start), images)) < p_N
        found.append(np.abs((right_RN - p_N) @ inside_NB).sum(axis=1) / images)
    ece_R = np.concatenate(found)
    low, high = np.quantile(ece_R, [(1 - level) / 2, (1 + level) / 2])
    return {"mean": float(ece_R.mean()), "low": float(low), "high": float(high)}


def line(right_N: Bools, p_N: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Slope and intercept, each (...); NaN where all images are right or none, or the fit has no end.

    Args:
        right_N: what came true.
        p_N: its stated probability.
        weights: (..., N); none for ones.
    """
    p = np.clip(p_N, CLIP, 1 - CLIP)
    x_N = np.log(p / (1 - p))
    w = np.ones(len(x_N)) if weights is None else np.asarray(weights, dtype=np.float64)
    y_N = right_N.astype(np.float64)
    slope = _fit(x_N, y_N, w, slope=True)
    return slope, _fit(x_N, y_N, w, slope=False)


def _fit(x_N: Floats, y_N: Floats, w: Floats, *, slope: bool) -> Floats:
    """Logistic regression by Newton's method: the slope, or with the slope kept at 1 the intercept."""
    a, b = np.zeros(w.shape[:-1]), np.ones(w.shape[:-1])
    moved = np.full(w.shape[:-1], np.inf)
    with np.errstate(all="ignore"):
        for _ in range(STEPS):
            p = 1 / (1 + np.exp(-(a[..., None] + b[..., None] * x_N)))
            v = w * p * (1 - p)
            rest = w * (y_N - p)
            g0, h00 = rest.sum(axis=-1), v.sum(axis=-1)
            if slope:
                g1 = rest @ x_N
                h01, h11 = v @ x_N, v @ x_N**2
                determinant = h00 * h11 - h01**2
                da, db = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
            else:
                da, db = g0 / h00, np.zeros_like(g0)
            a, b = a + da, b + db
            moved = np.abs(da) + np.abs(db)
            if not (moved > CLOSE).any():
                break
    found = b if slope else a
    return np.where(moved <= CLOSE, found, np.nan)


# Probabilities where all classes are equally frequent, whatever mix the images are of: the scale that was
# fitted, source by source.


def equal_prior_section(
    predictions: pd.DataFrame, document: DecisionDocument, *, draws: int, seed: int, level: float
) -> dict[str, Any]:
    """The part of metrics.json on probabilities at equal class shares, every class weighing alike.

    Args:
        predictions: of one role, answered in the model's own case mix.
        document: the model's decision.
        draws: for the calibration error that chance gives.
        seed: of the draws.
        level: of its band.

    Returns:
        `mean_recall` (of the most probable class there), `log_loss`, `ece`, `ece_by_chance`, `slope` and
        `intercept`, and `by_source`, the same of each source at the classes it has, with its `images`, where
        there are several.
    """
    target_N, p_NC = arrays(predictions, document.classes)
    equal_NC = np.exp(at_equal(p_NC, document.prior))

    def numbers(rows_N: Bools) -> dict[str, Any]:
        target, p = target_N[rows_N], equal_NC[rows_N]
        weight_N = 1 / np.bincount(target)[target]
        right_N = predicted_classes(p) == target
        slope, intercept = line(right_N, p.max(axis=1), weight_N * len(target) / weight_N.sum())
        return {
            "images": len(target),
            "mean_recall": float(weighted_mean(right_N, weight_N)),
            "log_loss": float(metrics.log_loss(target, p, weight_N)),
            "ece": float(ece(target, p, weight_N)),
            "ece_by_chance": ece_by_chance(p, draws=draws, seed=seed, level=level, weights=weight_N),
            "slope": _finite(slope),
            "intercept": _finite(intercept),
        }

    section = numbers(np.ones(len(target_N), dtype=bool))
    source_N = predictions["source"].to_numpy(dtype=str) if "source" in predictions else np.array([])
    names = np.unique(source_N)
    return section | {
        "by_source": {str(name): numbers(source_N == name) for name in names} if len(names) > 1 else {}
    }


def _finite(value: Floats) -> float | None:
    return float(value) if np.isfinite(value) else None


def answer_section(
    predictions: pd.DataFrame, vocabulary: Vocabulary, resamples: Resamples, *, level: float
) -> dict[str, Any]:
    """The part of metrics.json on sets and abstention.

    Args:
        predictions: of one role, answered.
        vocabulary: the classes, in the order of the probabilities.
        resamples: draws of its lesions.
        level: of the intervals.

    Returns:
        `answered`, `accuracy_answered`, `mean_recall_answered`, `set_size`; for each class `coverage`,
        `set_size`, `abstained` and `recall_answered`; `reasons`, how many images each holds for; and
        `melanomas`, or `malignant` where own classes are, counted by what became of them.
    """
    classes = vocabulary.classes
    target_N, _ = arrays(predictions, classes)
    diagnosis_N = diagnoses(predictions, classes)
    assert diagnosis_N is not None  # the table is answered
    set_NC = sets_of(predictions["set"].tolist(), classes)
    abstain_N = (predictions["uncertain"] == "yes").to_numpy()

    def numbers(weights: Floats | None) -> dict[Place, Floats]:
        return answer_numbers(target_N, diagnosis_N, set_NC, abstain_N, classes, weights)

    estimates = estimate(numbers, resamples, level=level)
    if len(resamples.counts):
        covered_N = set_NC[np.arange(len(target_N)), target_N]
        for index, code in enumerate(classes):
            of_class = target_N == index
            shares = {"coverage": (of_class, covered_N), "abstained": (of_class, abstain_N)}
            shares["recall_answered"] = (of_class & ~abstain_N, diagnosis_N == index)
            for name, (inside_N, yes_N) in shares.items():
                estimates["per_class", code, name] = share_within(yes_N, inside_N, resamples, level=level)
        estimates["mean_recall_answered",] = mean_recall(
            target_N, diagnosis_N, len(classes), resamples, level=level, inside_N=~abstain_N
        )
    section = nest(estimates)
    listed = [set(cell.split("; ")) for cell in predictions["reason"]]
    section["reasons"] = {word: sum(word in words for words in listed) for word in REASONS}
    if vocabulary.sought_group:
        found = fate(target_N, diagnosis_N, set_NC, abstain_N, vocabulary)
        section["melanomas" if vocabulary.sought_group == "melanoma" else "malignant"] = found
    return section


def answer_numbers(
    target_N: Ints,
    diagnosis_N: Ints,
    set_NC: Bools,
    abstain_N: Bools,
    classes: tuple[str, ...],
    weights: Floats | None,
) -> dict[Place, Floats]:
    """Every share and mean of `answer_section`, each (...)."""
    w = np.ones(len(target_N)) if weights is None else weights
    covered_N = set_NC[np.arange(len(target_N)), target_N]
    size_N = set_NC.sum(axis=1)
    kept = metrics.one_vs_rest(target_N, diagnosis_N, len(classes), w * ~abstain_N)
    found: dict[Place, Floats] = {
        ("answered",): metrics.weighted_mean(~abstain_N, w),
        ("accuracy_answered",): metrics.weighted_mean(diagnosis_N == target_N, w * ~abstain_N),
        ("mean_recall_answered",): metrics.macro(kept.recall, kept.support),
        ("coverage",): metrics.weighted_mean(covered_N, w),
        ("set_size",): metrics.weighted_mean(size_N, w),
    }
    for index, code in enumerate(classes):
        of_class = w * (target_N == index)
        found |= {
            ("per_class", code, "coverage"): metrics.weighted_mean(covered_N, of_class),
            ("per_class", code, "set_size"): metrics.weighted_mean(size_N, of_class),
            ("per_class", code, "abstained"): metrics.weighted_mean(abstain_N, of_class),
            ("per_class", code, "recall_answered"): kept.recall[..., index],
        }
    return found


def fate(
    target_N: Ints, diagnosis_N: Ints, set_NC: Bools, abstain_N: Bools, vocabulary: Vocabulary
) -> dict[str, int]:
    """The images of the classes that are sought by what became of them; the last four sum to the first.

    Returns:
        `images`; `named`, for which any of these classes is named, whether or not the model abstains;
        `in_set`, not named but in the set; `abstained`, neither, but the model abstains; `missed`, none of
        these: an answer that does not mention them.
    """
    columns = [vocabulary.classes.index(code) for code in vocabulary.sought]
    of_class = np.isin(target_N, columns)
    named_N = of_class & np.isin(diagnosis_N, columns)
    in_set_N = of_class & ~named_N & set_NC[:, columns].any(axis=1)
    abstained_N = of_class & ~named_N & ~in_set_N & abstain_N
    counts = {"images": of_class, "named": named_N, "in_set": in_set_N, "abstained": abstained_N}
    found = {name: int(inside_N.sum()) for name, inside_N in counts.items()}
    return found | {"missed": found["images"] - found["named"] - found["in_set"] - found["abstained"]}
