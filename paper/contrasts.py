"""Planned contrasts: what one changed thing does on the same lesions, and how sure that is.

Shapes: N images, L lesions, R draws, C classes, K contrasts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from dermlens import metrics
from dermlens.data.predictions import arrays, classes_of
from dermlens.evaluation.intervals import Resamples
from dermlens.metrics import Bools, Floats, Ints
from dermlens.studies.folds import FOLD

# The best of several arms, chosen without a look at what is scored.


def best_elsewhere(tables: Mapping[str, pd.DataFrame], arms: Sequence[str]) -> pd.DataFrame:
    """For each fold the predictions of the arm that did best on the other folds, by mean recall.

    Args:
        tables: out-of-fold predictions by arm, of the same images in the same order.
        arms: to choose from; of equals the first.

    Returns:
        A table like theirs.
    """
    first = tables[arms[0]]
    chosen = first.copy()
    for fold in np.unique(first[FOLD]):
        scores = [_mean_recall(tables[arm][tables[arm][FOLD] != fold]) for arm in arms]
        best = tables[arms[int(np.argmax(scores))]]
        own = (first[FOLD] == fold).to_numpy()
        columns = [f"p_{code}" for code in classes_of(first)]
        chosen.loc[own, columns] = best.loc[own, columns]
    return chosen


def _mean_recall(table: pd.DataFrame) -> float:
    classes = classes_of(table)
    target_N, p_NC = arrays(table, classes)
    return _number("mean_recall", target_N, metrics.predicted_classes(p_NC), len(classes))


# Planned contrasts: what one changed thing does, on the same lesions, and how sure that is.
#
# The bootstrap has two levels. Folds are drawn with replacement, because each is one training and another
# training would differ; then lesions within the folds that were drawn, class by class, because other lesions
# would differ. A difference is taken on the same draw for both arms. Its p-value is twice the smaller share
# of draws on either side of zero, counted with one draw more; Holm's step-down holds the chance of any false
# finding among all contrasts that were planned to 5 %, those that have not been run counting as found to be
# nothing: a verdict does not change when another arm is trained.
#
# What cannot be distinguished from zero is *inconclusive*, not equal. It has the smallest effect that would
# have been seen four times in five by the strictest step of that test, (z_(1 − 0.025/planned) + z_0.8) · SE
# (Cohen 1988, with Bonferroni's level).


Measure = Literal["accuracy", "mean_recall"]
ALPHA, POWER = 0.05, 0.8
COLUMNS = (
    "question", "arm", "reference", "measure", "images", "value", "reference_value", "difference", "low",
    "high", "se", "draws", "p", "p_holm", "detectable", "matters", "verdict",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two arms that differ in one thing.

    Attributes:
        question: that it belongs to.
        arm: the one that is changed.
        reference: the one that it is compared with.
        measure: the number that decides, of the class of the highest probability.
        matters: the smallest difference that would matter, in the measure's unit.
    """

    question: str
    arm: str
    reference: str
    measure: Measure
    matters: float


def draw_two_levels(
    lesion_N: NDArray[Any], stratum_N: Ints, fold_N: Ints, *, replicates: int, seed: int
) -> Resamples:
    """Draw folds with replacement, then lesions within each, stratum by stratum.

    Args:
        lesion_N: names of lesions, each in one fold.
        stratum_N: the class of each image; a lesion belongs to that of its first image.
        fold_N: the fold of each image.
        replicates: R.
        seed: of the draw.
    """
    _, first_L, index_N = np.unique(lesion_N, return_index=True, return_inverse=True)
    fold_L, stratum_L = fold_N[first_L], stratum_N[first_L]
    folds = np.unique(fold_L)
    rng = np.random.default_rng(seed)
    times_RF = rng.multinomial(len(folds), np.full(len(folds), 1 / len(folds)), size=replicates)
    count_RL = np.zeros((replicates, len(first_L)), dtype=np.int16)
    for column, fold in enumerate(folds):
        for stratum in np.unique(stratum_L):
            members = np.flatnonzero((fold_L == fold) & (stratum_L == stratum))
            if len(members):
                draws_R = times_RF[:, column] * len(members)
                count_RL[:, members] = rng.multinomial(draws_R, np.full(len(members), 1 / len(members)))
    return Resamples(count_RL, index_N.astype(np.int64))


def measure_contrasts(
    tables: Mapping[str, pd.DataFrame], contrasts: Sequence[Contrast], *, replicates: int, seed: int
) -> pd.DataFrame:
    """Every contrast whose two arms are there, before Holm's correction.

    Args:
        tables: out-of-fold predictions by arm, all of the same images in the same order.
        contrasts: as planned.
        replicates: how many draws, R; the smallest p-value is 2 / (R + 1).
        seed: of the draws.

    Returns:
        A row each, with `COLUMNS`; `p_holm`, `detectable` and `verdict` wait for `correct`, which needs `se`.
    """
    compared = present(tables, contrasts)
    if not compared:
        return pd.DataFrame(columns=list(COLUMNS))
    named = {arm: tables[arm] for one in compared for arm in (one.arm, one.reference)}
    draws = draw_arms(named, replicates=replicates, seed=seed)
    return rows_of(tables, compared, [draws.difference(one) for one in compared])


def present(tables: Mapping[str, pd.DataFrame], contrasts: Sequence[Contrast]) -> list[Contrast]:
    """The contrasts whose two arms are there."""
    return [one for one in contrasts if one.arm in tables and one.reference in tables]


@dataclass(frozen=True)
class Draws:
    """What arms name right in each draw of folds and lesions; the draws are the same for all arms.

    Attributes:
        arms: their names.
        images_RC: images of each class.
        right_RAC: those of them that each arm names right.
    """

    arms: tuple[str, ...]
    images_RC: Floats
    right_RAC: Floats

    def difference(self, contrast: Contrast) -> Floats:
        """(R,): the arm's number less the reference's."""
        return self._number(contrast.arm, contrast.measure) - self._number(
            contrast.reference, contrast.measure
        )

    def _number(self, arm: str, measure: Measure) -> Floats:
        right_RC = self.right_RAC[:, self.arms.index(arm)]
        if measure == "accuracy":
            return np.asarray(right_RC.sum(axis=1) / self.images_RC.sum(axis=1))
        recall_RC = np.divide(right_RC, self.images_RC, out=np.zeros_like(right_RC), where=self.images_RC > 0)
        return metrics.macro(recall_RC, self.images_RC)


def draw_arms(tables: Mapping[str, pd.DataFrame], *, replicates: int, seed: int) -> Draws:
    """Draw folds and lesions as `draw_two_levels` does, for all arms together.

    Lesions of a class and fold on whose images all arms were right and wrong alike are one kind: how many of
    each kind a draw has is a multinomial draw too, of far fewer.

    Args:
        tables: out-of-fold predictions by arm, all of the same images in the same order.
        replicates: how many draws, R.
        seed: of the draws.
    """
    first = next(iter(tables.values()))
    assert all(table["image_id"].tolist() == first["image_id"].tolist() for table in tables.values())
    classes = classes_of(first)
    target_N, _ = arrays(first, classes)
    right_NA = np.stack([named_right(table) for table in tables.values()], axis=1)
    found_RAC = draw_right(first, target_N, right_NA, len(classes), replicates=replicates, seed=seed)
    return Draws(tuple(tables), found_RAC[:, 0], found_RAC[:, 1:])


def named_right(table: pd.DataFrame) -> Bools:
    """(N,): whether the class of the highest probability is the true one."""
    target_N, p_NC = arrays(table, classes_of(table))
    return np.asarray(p_NC.argmax(axis=1) == target_N)


def draw_right(
    table: pd.DataFrame, target_N: Ints, right_NA: Bools, classes: int, *, replicates: int, seed: int
) -> Floats:
    """(R, 1 + arms, C): images of each class in each draw, and of them those that each arm names right.

    Any other cut of the images into C strata does in the place of classes, a lesion being in one.
    """
    _, first_L, lesion_N = np.unique(
        table["lesion_id"].to_numpy(dtype=str), return_index=True, return_inverse=True
    )
    count_NA = np.concatenate([np.ones((len(target_N), 1)), right_NA], axis=1)
    count_LCA = np.zeros((len(first_L), classes, count_NA.shape[1]))
    np.add.at(count_LCA, (lesion_N, target_N), count_NA)
    fold_L, stratum_L = table[FOLD].to_numpy(dtype=np.int64)[first_L], target_N[first_L]
    folds = np.unique(fold_L)
    rng = np.random.default_rng(seed)
    times_RF = rng.multinomial(len(folds), np.full(len(folds), 1 / len(folds)), size=replicates)
    found_RCA = np.zeros((replicates, *count_LCA.shape[1:]))
    for column, fold in enumerate(folds):
        for stratum in np.unique(stratum_L):
            own = count_LCA[(fold_L == fold) & (stratum_L == stratum)]
            if len(own):
                kind_KCA, lesions_K = np.unique(own, axis=0, return_counts=True)
                drawn_RK = rng.multinomial(times_RF[:, column] * len(own), lesions_K / len(own))
                found_RCA += np.tensordot(drawn_RK.astype(np.float64), kind_KCA, axes=1)
    return np.moveaxis(found_RCA, 2, 1)


def rows_of(
    tables: Mapping[str, pd.DataFrame], contrasts: Sequence[Contrast], drawn: Sequence[Floats]
) -> pd.DataFrame:
    """A row for each contrast, from the differences that were drawn."""

    @cache
    def value(arm: str, measure: Measure) -> float:
        classes = classes_of(tables[arm])
        target_N, p_NC = arrays(tables[arm], classes)
        return _number(measure, target_N, metrics.predicted_classes(p_NC), len(classes))

    rows = [
        _row(
            one,
            len(tables[one.arm]),
            value(one.arm, one.measure),
            value(one.reference, one.measure),
            difference_R,
        )
        for one, difference_R in zip(contrasts, drawn, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def correct(rows: pd.DataFrame, planned: int) -> pd.DataFrame:
    """Holm's correction over all contrasts, and what each row may be said to show.

    Args:
        rows: of `measure_contrasts`, of all questions together.
        planned: how many contrasts were planned, run or not.
    """
    normal = NormalDist()
    reach = normal.inv_cdf(1 - ALPHA / 2 / planned) + normal.inv_cdf(POWER)
    corrected = rows.assign(
        p_holm=holm(rows["p"].to_numpy(dtype=np.float64), planned), detectable=reach * rows["se"]
    )
    return corrected.assign(verdict=[_verdict(row) for row in corrected.to_dict("records")])


def holm(p_K: Floats, planned: int | None = None) -> Floats:
    """Holm's step-down: p-values for all hypotheses together (Holm 1979).

    Args:
        p_K: of those that were tested.
        planned: how many there are, those without a test having p = 1; none for K.
    """
    order = np.argsort(p_K, kind="stable")
    family = len(p_K) if planned is None else planned
    stepped = np.maximum.accumulate(p_K[order] * (family - np.arange(len(p_K))))
    corrected = np.empty_like(p_K)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def _row(
    contrast: Contrast, images: int, value: float, reference_value: float, difference_R: Floats
) -> dict[str, Any]:
    low, high = np.quantile(difference_R, [ALPHA / 2, 1 - ALPHA / 2])
    sides = [int((difference_R <= 0).sum()), int((difference_R >= 0).sum())]
    return {
        "question": contrast.question,
        "arm": contrast.arm,
        "reference": contrast.reference,
        "measure": contrast.measure,
        "images": images,
        "value": value,
        "reference_value": reference_value,
        "difference": value - reference_value,
        "low": float(low),
        "high": float(high),
        "p": min(1.0, 2 * (min(sides) + 1) / (len(difference_R) + 1)),
        "se": float(difference_R.std(ddof=1)),
        "draws": len(difference_R),
        "matters": contrast.matters,
    }


def _number(measure: Measure, target_N: Ints, named_N: Ints, classes: int) -> float:
    """Accuracy or mean recall of the images as they are."""
    if measure == "accuracy":
        return float((named_N == target_N).mean())
    counts = metrics.one_vs_rest(target_N, named_N, classes)
    return float(metrics.macro(counts.recall, counts.support))


def _verdict(row: Mapping[Any, Any]) -> str:
    """What a contrast shows, in words that a table can hold."""
    if row["p_holm"] >= ALPHA or row["low"] <= 0 <= row["high"]:
        return "inconclusive"
    size = "" if abs(row["difference"]) >= row["matters"] else ", less than would matter"
    return f"{'gains' if row['difference'] > 0 else 'loses'}{size}"


# As many draws of a bootstrap as its verdicts need: no verdict hangs on the draws.
#
# A p-value from R draws is an estimate. Of each, Clopper and Pearson's interval says how far it may be off;
# Holm's correction rises with every p-value, so done on all lower ends and on all upper ends it encloses what
# endless draws would give. A contrast that comes out alike in both is settled; the others are drawn on.


BATCH = 10_000
MOST = 400_000
CONFIDENCE = 0.99
"""Of the interval of each p-value."""


def settled(fewer_K: Ints, draws_K: Ints, planned: int, *, confidence: float = CONFIDENCE) -> Bools:
    """Which verdicts more draws would not change.

    Args:
        fewer_K: draws on the rarer side of zero.
        draws_K: all draws.
        planned: how many contrasts were planned, run or not.
        confidence: of the interval of each p-value.
    """
    tail = (1 - confidence) / 2
    low_K = np.where(fewer_K > 0, stats.beta.ppf(tail, np.maximum(fewer_K, 1), draws_K - fewer_K + 1), 0.0)
    high_K = stats.beta.ppf(1 - tail, fewer_K + 1, np.maximum(draws_K - fewer_K, 1))
    ends = [holm(np.minimum(2 * end_K, 1.0), planned) < ALPHA for end_K in (low_K, high_K)]
    return np.asarray(ends[0] == ends[1])


def draw_enough(
    draw: Callable[[Sequence[int], int], Sequence[Floats]],
    contrasts: int,
    planned: int,
    *,
    batch: int = BATCH,
    most: int = MOST,
) -> list[Floats]:
    """Differences of every contrast, drawn batch by batch until every verdict is settled.

    Args:
        draw: from which contrasts and the number of the batch to `batch` differences of each.
        contrasts: K.
        planned: how many were planned, run or not.
        batch: draws at a time.
        most: draws of a contrast after which it is left unsettled.

    Returns:
        The differences of each.
    """
    if not contrasts:
        return []
    found = [np.asarray(first) for first in draw(range(contrasts), 0)]
    for number in range(1, -(-most // batch)):
        fewer_K = np.array([rarer(one) for one in found])
        open_K = ~settled(fewer_K, np.array([len(one) for one in found]), planned)
        if not open_K.any():
            break
        which = np.flatnonzero(open_K).tolist()
        for index, more in zip(which, draw(which, number), strict=True):
            found[index] = np.concatenate([found[index], more])
    return found


def rarer(difference_R: Floats) -> int:
    """Draws on the rarer side of zero."""
    return int(min((difference_R <= 0).sum(), (difference_R >= 0).sum()))
