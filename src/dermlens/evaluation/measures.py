"""Sections of metrics.json: reliability, operating points, and what became of the images that were answered.

Shapes: N images, C classes, B bins, R draws, `...` the leading axes of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from dermlens import metrics
from dermlens.data.predictions import arrays, diagnoses
from dermlens.evaluation.intervals import BLOCK, Place, Resamples, estimate, mean_recall, nest, share
from dermlens.labels import BY_CODE, Vocabulary
from dermlens.metrics import Bools, Floats, Ints, predicted_classes, weighted_mean
from dermlens.predict.decision import REASONS, at_equal, sets_of
from dermlens.predict.document import DecisionDocument, Suspicion

# Whether a stated probability comes true: reliability bins and the expected calibration error.
#
# Both look at the highest probability of each image alone (top-label calibration). Source: Guo, Pleiss, Sun,
# Weinberger 2017, Eq. 3–5, with their 15 bins of equal width.


BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """Images whose highest probability lies in (low, high].

    Attributes:
        low, high: the bin.
        count: images in it.
        confidence, accuracy: their mean highest probability and the share named rightly; none for an empty
            bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def ece(target_N: Ints, p_NC: Floats, weights: Floats | None = None, bins: int = BINS) -> Floats:
    """Expected calibration error: Σ_b n_b/N · |accuracy_b − confidence_b|, (...).

    Args:
        target_N: class indices.
        p_NC: probabilities.
        weights: (..., N); none for ones.
        bins: B, of equal width over 0 … 1.
    """
    inside_NB = (bin_of(p_NC, bins)[:, None] == np.arange(bins)).astype(np.float64)
    gap_NB = (_right(target_N, p_NC) - p_NC.max(axis=1))[:, None] * inside_NB
    w = np.ones(len(target_N)) if weights is None else weights
    return np.asarray(np.abs(w @ gap_NB).sum(axis=-1) / w.sum(axis=-1))


def reliability(target_N: Ints, p_NC: Floats, bins: int = BINS) -> list[dict[str, float | int | None]]:
    """The bins of the reliability diagram, empty ones included, as plain numbers."""
    edges, where_N = _edges(bins), bin_of(p_NC, bins)
    right_N, confidence_N = _right(target_N, p_NC), p_NC.max(axis=1)
    found = []
    for index in range(bins):
        inside_N = where_N == index
        count = int(inside_N.sum())
        found.append(
            Bin(
                low=float(edges[index]),
                high=float(edges[index + 1]),
                count=count,
                confidence=float(weighted_mean(confidence_N[inside_N])) if count else None,
                accuracy=float(weighted_mean(right_N[inside_N])) if count else None,
            )
        )
    return [asdict(entry) for entry in found]


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
    p_NC: Floats, *, draws: int, seed: int, level: float, bins: int = BINS, weights: Floats | None = None
) -> dict[str, float | None]:
    """The calibration error that chance alone gives, were every probability exactly right.

    Args:
        p_NC: probabilities; only the highest of each image counts.
        draws: R, how often right and wrong are drawn; 0 for none.
        seed: of the draws.
        level: 0.95 for the 2.5th and 97.5th percentile.
        bins: as for `ece`.
        weights: (N,), of the images; none for ones.

    Returns:
        mean, low and high; null without draws or images.
    """
    images = len(p_NC)
    if not draws or not images:
        return {"mean": None, "low": None, "high": None}
    p_N = p_NC.max(axis=1)
    w_N = np.ones(images) if weights is None else weights / weights.mean()
    inside_NB = w_N[:, None] * (bin_of(p_NC, bins)[:, None] == np.arange(bins))
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


# One group of diagnoses sought among all: thresholds, what they cost, and whether they help.
#
# A threshold is chosen on one role and applied to another: chosen where it is scored, it fits the noise and
# its sensitivity is met by construction. The score is the sum of the probabilities of the group's classes.


SENSITIVITIES = (0.90, 0.95)
PROBABILITIES = (0.05, 0.10, 0.20, 0.30, 0.50)
"""Thresholds that are fixed on nothing: what acting on such a probability would catch, and spare."""
NET_BENEFIT_THRESHOLDS = tuple(percent / 100 for percent in range(2, 21, 2))
THRESHOLD_ROLES = {
    "selection": ("calibration",),
    "calibration": ("selection",),
}
"""Where a role's thresholds come from; every other role (test, external) takes those of `calibration`, or
else of `selection`. With no such role, as under the paper's protocol, a role has only itself, and the point
says it is optimistic."""


def detection_groups(vocabulary: Vocabulary) -> dict[str, tuple[str, ...]]:
    """The groups that can be sought with these classes: name → codes of its classes.

    Melanoma wherever `mel` is a class. Malignant against benign where all of a group's codes are there and it
    is known of every class what it is: of the seven with and without akiec, which holds precursors and a
    carcinoma in situ; with own classes, where a recipe calls any of them malignant, as `malignant`.
    """
    classes = vocabulary.classes
    groups: dict[str, tuple[str, ...]] = {"melanoma": ("mel",)}
    if any(code in vocabulary.described for code in vocabulary.malignant):
        groups["malignant"] = vocabulary.malignant
    elif all(code in BY_CODE for code in classes):
        malignant = tuple(code for code, diagnosis in BY_CODE.items() if diagnosis.malignant)
        between = tuple(code for code, diagnosis in BY_CODE.items() if diagnosis.in_situ)
        groups["malignant_with_akiec"] = (*between, *malignant)
        groups["malignant_without_akiec"] = malignant
    return {
        name: codes
        for name, codes in groups.items()
        if set(codes) <= set(classes) and len(codes) < len(classes)
    }


def sought_recall(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Of a role's scores, the recall of melanoma, else of the malignant own classes; empty without."""
    if "mel" in scores["per_class"]:
        return dict(scores["per_class"]["mel"].get("recall") or {})
    return dict((scores["detection"].get("malignant") or {}).get("recall") or {})


def threshold_role(role: str, available: Sequence[str]) -> str:
    """The role whose thresholds `role` is scored with: another one where there is one, else itself."""
    preferred = THRESHOLD_ROLES.get(role, ("calibration", "selection"))
    return next((other for other in preferred if other in available), role)


def group_scores(
    target_N: Ints, p_NC: Floats, classes: Sequence[str], codes: Sequence[str]
) -> tuple[Bools, Floats]:
    """Which images belong to the group, and the probability given to it.

    Returns:
        positive_N and score_N, the sum of the group's probabilities.
    """
    columns = [classes.index(code) for code in codes]
    return np.isin(target_N, columns), p_NC[:, columns].sum(axis=1)


def threshold_at(positive_N: Bools, score_N: Floats, sensitivity: float) -> float | None:
    """The highest threshold at which score ≥ threshold catches the share of the positives; none without
    positives.

    Args:
        positive_N: which images are sought.
        score_N: higher means more likely.
        sensitivity: the share aimed at, 0 … 1.
    """
    falling = np.sort(score_N[positive_N])[::-1]
    if not len(falling):
        return None
    needed = int(np.ceil(sensitivity * len(falling) - 1e-9))  # 0.55 × 100 is 55, whatever the last bit says
    return float(falling[max(needed, 1) - 1])


def rates_at(
    positive_N: Bools, score_N: Floats, threshold: float, weights: Floats | None = None
) -> tuple[Floats, Floats]:
    """Sensitivity and specificity of score ≥ threshold, each (...); NaN where there is nothing to count."""
    w = np.ones(len(score_N)) if weights is None else weights
    caught_N = score_N >= threshold
    return weighted_mean(caught_N, w * positive_N), weighted_mean(~caught_N, w * ~positive_N)


def net_benefit(
    positive_N: Bools, score_N: Floats, thresholds: Sequence[float] = NET_BENEFIT_THRESHOLDS
) -> list[dict[str, float]]:
    """Net benefit of acting on score ≥ p_t, against acting on everyone and on no one.

    TP/N − FP/N · p_t/(1 − p_t): true positives less the false ones, weighed as someone does who would accept
    (1 − p_t)/p_t false alarms to catch one. Everyone: prevalence − (1 − prevalence)·p_t/(1 − p_t); no one: 0.
    It supposes that the score is a calibrated probability and that the prevalence is the clinic's; of
    HAM10000's images about 11 % are melanomas, far more than in screening. Source: Vickers and Elkin 2006.

    Args:
        positive_N: which images are sought.
        score_N: probability of the group.
        thresholds: p_t, 0 … 1.

    Returns:
        One {threshold, model, all, none} for each p_t.
    """
    prevalence = float(positive_N.mean())
    curve = []
    for threshold in thresholds:
        odds = threshold / (1 - threshold)
        caught_N = score_N >= threshold
        model = float((caught_N & positive_N).mean() - odds * (caught_N & ~positive_N).mean())
        everyone = prevalence - (1 - prevalence) * odds
        curve.append({"threshold": threshold, "model": model, "all": everyone, "none": 0.0})
    return curve


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


# What the marks of suspicion catch, and what acting on a flag would mean where malignancy is rare.


PREVALENCES = (0.01, 0.04, 0.10)


def suspicion_section(
    predictions: pd.DataFrame, suspicion: Suspicion, resamples: Resamples, *, level: float
) -> dict[str, Any]:
    """The part of metrics.json on suspicion: at each mark sensitivity, benign images flagged, PPV; by source.

    Args:
        predictions: of one role, answered.
        suspicion: of the model.
        resamples: draws of the role's lesions.
        level: of the intervals.

    Returns:
        `malignant`, `premalignant` and `benign`, numbers of images; `auc` of malignant against benign; and
        `marks`, each with `catches`, `threshold`, `sensitivity` and `benign_flagged` as estimates,
        `premalignant_flagged`, `ppv` by prevalence, and `by_source`. Pre-malignant images count on
        neither side.
    """
    code_N = predictions["target"].to_numpy(dtype=str)
    score_N = predictions["suspicion"].to_numpy(dtype=np.float64)
    malignant_N = np.isin(code_N, suspicion.malignant)
    between_N = np.isin(code_N, suspicion.premalignant)
    benign_N = ~malignant_N & ~between_N
    source_N = (
        predictions["source"].to_numpy(dtype=str) if "source" in predictions else np.full(len(code_N), "")
    )
    found = [str(name) for name in np.unique(source_N)]
    names = found if len(found) > 1 else []
    judged_N = ~between_N
    auc = metrics.ranking(malignant_N[judged_N], score_N[judged_N], None).auc
    marks = []
    for mark in suspicion.marks:
        flagged_N = score_N >= mark.threshold
        of_all = {
            "sensitivity": _flagged(flagged_N, malignant_N, resamples, level),
            "benign_flagged": _flagged(flagged_N, benign_N, resamples, level),
        }
        marks.append(
            {
                "catches": mark.catches,
                "threshold": mark.threshold,
                **of_all,
                "premalignant_flagged": _share(flagged_N, between_N),
                "ppv": {
                    f"{prevalence:g}": ppv(
                        of_all["sensitivity"]["value"], of_all["benign_flagged"]["value"], prevalence
                    )
                    for prevalence in PREVALENCES
                },
                "by_source": {
                    str(name): {
                        "malignant": int((malignant_N & (source_N == name)).sum()),
                        "benign": int((benign_N & (source_N == name)).sum()),
                        "sensitivity": _share(flagged_N, malignant_N & (source_N == name)),
                        "benign_flagged": _share(flagged_N, benign_N & (source_N == name)),
                    }
                    for name in names
                },
            }
        )
    return {
        "malignant": int(malignant_N.sum()),
        "premalignant": int(between_N.sum()),
        "benign": int(benign_N.sum()),
        "auc": _finite(auc),
        "marks": marks,
    }


def _share(flagged_N: Bools, inside_N: Bools) -> float | None:
    return float(flagged_N[inside_N].mean()) if inside_N.any() else None


def _flagged(
    flagged_N: Bools, inside_N: Bools, resamples: Resamples, level: float
) -> dict[str, float | None]:
    one = share(flagged_N[inside_N], resamples.lesion[inside_N], level=level)
    return dict(one) if len(resamples.counts) else dict(one) | {"low": None, "high": None}


def ppv(sensitivity: float | None, benign_flagged: float | None, prevalence: float) -> float | None:
    """Of the lesions that are flagged, the share that is malignant where so many are; Bayes' rule."""
    if sensitivity is None or benign_flagged is None:
        return None
    caught, false = prevalence * sensitivity, (1 - prevalence) * benign_flagged
    return caught / (caught + false) if caught + false > 0 else None


# What became of the images when the model could also give a set of diagnoses, or abstain.


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
            for name, (rows, yes_N) in shares.items():
                estimates["per_class", code, name] = share(yes_N[rows], resamples.lesion[rows], level=level)
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
